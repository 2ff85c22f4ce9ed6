"""TFDS's notation of splits, for every kind of source: `train[:90%]`, `train[-500:]+test`.

A slice is taken of the order in which the examples lie, before any shuffling: the same examples in
each run, whatever its seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trainer.errors import BadInput


class Part(NamedTuple):
    """The examples `start` up to, not including, `stop` of a split."""

    name: str
    start: int
    stop: int


def names(split: str) -> list[str]:
    """The splits that a notation speaks of, in its order."""
    return [re.split(r"\[", part.strip())[0] for part in split.split("+")]


def parts(split: str, sizes: Mapping[str, int], flag: str, where: str) -> list[Part]:
    """What a notation stands for.

    Args:
        split: In TFDS's notation, rounded as TFDS does: `train`, `train[90%:]`, `train+test`.
        sizes: The splits that there are, and their numbers of examples.
        flag: The flag that `split` came from, for messages: `train_split`.
        where: What has these splits, for messages: `--dataset=mnist`.

    Raises:
        BadInput: There is no such split, the notation is wrong, or nothing is left.
    """
    has = ", ".join(f"{name} ({size:,} examples)" for name, size in sizes.items()) or "none"
    try:
        found = [Part(split, 0, sizes[split])] if split in sizes else _sliced(split, sizes)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[-1].split(". ")[0].rstrip(".")
        raise BadInput(f"--{flag}={split}: {reason}; {where} has {has}.") from error
    if count(found) <= 0:  # TFDS counts -3 examples in train[5:2]
        raise BadInput(f"--{flag}={split} is empty; {where} has {has}.")
    return found


def count(found: Sequence[Part]) -> int:
    """Examples in all."""
    return sum(part.stop - part.start for part in found)


def shared(some: Sequence[Part], others: Sequence[Part]) -> int:
    """Examples that stand in both."""
    return sum(
        max(0, min(a.stop, b.stop) - max(a.start, b.start))
        for a in some
        for b in others
        if a.name == b.name
    )


def _sliced(split: str, sizes: Mapping[str, int]) -> list[Part]:
    import tensorflow_datasets as tfds

    infos: dict[str, Any] = {
        name: tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0)
        for name, size in sizes.items()
    }
    found = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    return [
        Part(p.splitname, p.from_ or 0, sizes[p.splitname] if p.to is None else p.to) for p in found
    ]
