"""From a task's `Source` to its splits: arrays in memory, or files that stay on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.config import Data
from trainer.data import splits
from trainer.data.arrays import fingerprint
from trainer.data.decoding import Decoding
from trainer.data.origins import Origin, open_origin
from trainer.data.readers import Split
from trainer.data.stored import OverBudget, Stored
from trainer.errors import BadInput
from trainer.source import DataInfo, Source

log = logging.getLogger("trainer")

SEEN_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Both splits.

    Attributes:
        info: What a model is shaped by.
        train: Feature name to `[num_examples, ...]`, or the files; empty where nothing is trained.
        validation: Likewise, or None without evaluation.
        files: Files that both were read from, if a task reads its own.
    """

    info: DataInfo
    train: Split
    validation: Split | None
    files: tuple[str, ...] = ()

    def fingerprints(self) -> dict[str, str]:
        """A digest of each split and of a task's own files, for the run's record.

        Of a split that stays on disk, it is one of its files' names and sizes.
        """
        both = {"train": self.train, "validation": self.validation}
        digests = {
            name: split.sha256 if isinstance(split, Stored) else fingerprint(split)
            for name, split in both.items()
            if split
        }
        return digests | {name: _file_digest(name) for name in self.files}


def num_examples(split: Split) -> int:
    """Examples in a split."""
    return split.num_examples if isinstance(split, Stored) else len(next(iter(split.values())))


def load(config: Data, source: Source, task: str) -> Loaded:
    """Reads what a task wants, preparing a dataset that is not prepared yet where it can.

    Raises:
        BadInput: The data is not there, or an example cannot be right.
    """
    wanted = {"train_split": config.train_split}
    if config.validation_split != "none":
        wanted["validation_split"] = config.validation_split
    origin = open_origin(source, config.data_dir)
    parts = {flag: origin.parts(split, flag) for flag, split in wanted.items()}
    if overlap := splits.shared(parts["train_split"], parts.get("validation_split", [])):
        log.warning(
            "--train_split=%s and --validation_split=%s share %s examples: what is measured on "
            "those says nothing of new ones.",
            config.train_split, config.validation_split, f"{overlap:,}",
        )  # fmt: skip
    read = {flag: _read(config, origin, split, flag) for flag, split in wanted.items()}
    seen = {flag: _seen(split) for flag, split in read.items()}
    info = DataInfo(
        name=origin.name or task,
        shapes=_shapes(read["train_split"], source),
        num_classes=dict(origin.num_classes),
        class_names=dict(origin.class_names),
    )
    if source.check is not None:
        for flag, split in wanted.items():
            source.check(seen[flag], split, info)
    return Loaded(info, read["train_split"], read.get("validation_split"), source.files)


def load_for_evaluation(config: Data, source: Source, split: str, info: DataInfo) -> Loaded:
    """Reads one split alone, for a model that is shaped already.

    Args:
        config: The flags.
        source: What the task wants.
        split: Which split.
        info: What the model was shaped by.

    Raises:
        BadInput: The data is not there, does not fit the model, or an example cannot be right.
    """
    origin = open_origin(source, config.data_dir)
    read = _read(config, origin, split, "eval_split")
    for name, shape in _shapes(read, source).items():
        if shape != info.shapes[name]:
            raise BadInput(
                f"--eval_split={split}: {name} has the shape {shape}, where the run was trained on "
                f"{info.shapes[name]}; take the flags it was trained with (config.flags)."
            )
    if source.check is not None:
        source.check(_seen(read), split, info)
    return Loaded(info, {}, read)


def _read(config: Data, origin: Origin, split: str, flag: str) -> Split:
    """In memory if it fits and nothing else was asked for. The service makes training data only:
    an evaluation must see every example once."""
    if config.reader == "disk" or (config.tf_data_service and flag == "train_split"):
        return origin.on_disk(split, flag)
    try:
        return origin.in_memory(split, flag, int(config.memory_budget_gib * 2**30))
    except OverBudget as over:
        if config.reader == "memory":
            raise
        log.info("%s; so it is read from disk.", str(over).partition(";")[0])
        return origin.on_disk(split, flag)


def _shapes(split: Split, source: Source) -> dict[str, tuple[int, ...]]:
    if isinstance(split, Stored):
        example = split.example
    elif source.decode is None:
        return {name: tuple(array.shape[1:]) for name, array in split.items()}
    else:
        example = _first(split)
    specs = Decoding(example, source, training=True).specs
    return {name: tuple(spec.shape) for name, spec in specs.items()}


def _first(arrays: dict[str, np.ndarray]) -> Any:
    return lambda row: {name: tf.constant(array[0]) for name, array in arrays.items()}


def _seen(split: Split) -> dict[str, np.ndarray]:
    """What a task's check gets to see: all arrays, or the first rows of what stays on disk."""
    if not isinstance(split, Stored):
        return split
    rows = range(min(SEEN_ROWS, split.num_examples))
    fault = split.fault(rows)
    if fault is not None:
        raise fault
    examples = [split.example(tf.constant(row, tf.int64)) for row in rows]
    return {name: np.stack([e[name].numpy() for e in examples]) for name in examples[0]}


def _file_digest(path: str) -> str:
    with open(Path(path).expanduser(), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
