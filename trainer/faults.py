"""Which example ended a run: TensorFlow names neither file nor row."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import tensorflow as tf

from trainer.assembly import Parts
from trainer.data.load import Split, num_examples
from trainer.data.stored import Stored, reason
from trainer.errors import BadInput
from trainer.source import Source


def refuse_fault(parts: Parts, stop: BaseException) -> None:
    """Raises `BadInput` where an example that was read or decoded on the way ended the run.

    The examples of the call that failed are read once more, then those of the validation split.
    """
    if not isinstance(stop, tf.errors.OpError):
        return
    data, flags, first = parts.data, parts.config.data, parts.state.step
    steps = range(first, first + parts.schedule.steps_per_loop)
    rows = itertools.chain.from_iterable(map(parts.plan.rows_of, steps))
    found = fault(data.train, parts.source, rows, f"--train_split={flags.train_split}")
    if data.validation is not None and found is None:
        every = range(num_examples(data.validation))
        where = f"--validation_split={flags.validation_split}"
        found = fault(data.validation, parts.source, every, where)
    if found is not None:
        raise found from stop


def fault(split: Split, source: Source, rows: Iterable[int], where: str) -> BadInput | None:
    """The first of these examples that cannot be read, if one cannot.

    Args:
        split: What they are of.
        source: How they are decoded.
        rows: Which to try.
        where: The split, for the message: `--train_split=train`.
    """
    if isinstance(split, Stored):
        return split.fault(rows)
    if source.decode is None:
        return None  # they were decoded when they were loaded
    for row in rows:
        try:
            source.decode({n: tf.constant(a[row]) for n, a in split.items()}, False, None)
        except tf.errors.OpError as error:
            return BadInput(
                f"{where}: row {row} cannot be decoded ({reason(error)}); mend or remove it."
            )
    return None
