"""From a task's `Source` to arrays in memory."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import Data
from trainer.data import arrays as reading
from trainer.data.prepare import is_prepared, open_builder, prepare
from trainer.errors import BadInput
from trainer.source import DataInfo, Source

log = logging.getLogger("trainer")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Both splits, decoded once.

    Attributes:
        info: What a model is shaped by.
        train: Feature name to `[num_examples, ...]`.
        validation: Likewise, or None without evaluation.
    """

    info: DataInfo
    train: dict[str, np.ndarray]
    validation: dict[str, np.ndarray] | None

    def fingerprints(self) -> dict[str, str]:
        """A digest of each split, for the run's record."""
        splits = {"train": self.train, "validation": self.validation}
        return {name: reading.fingerprint(split) for name, split in splits.items() if split}


def load(config: Data, source: Source, task: str) -> Loaded:
    """Reads what a task wants, preparing a dataset that is not prepared yet where it can.

    Raises:
        BadInput: The data is not there, or an example cannot be right.
    """
    splits = {"train_split": config.train_split}
    if config.validation_split != "none":
        splits["validation_split"] = config.validation_split
    builder = None
    if source.dataset:
        builder = open_builder(source.dataset, str(Path(config.data_dir).expanduser()))
        if not is_prepared(builder):
            prepare(builder)
    read = {flag: _read(config, source, builder, split, flag) for flag, split in splits.items()}
    info = _info(source, builder, read["train_split"], task)
    if source.check is not None:
        for flag, split in splits.items():
            source.check(read[flag], split, info)
    return Loaded(info, read["train_split"], read.get("validation_split"))


def _read(
    config: Data, source: Source, builder: Any, split: str, flag: str
) -> dict[str, np.ndarray]:
    if builder is not None:
        budget = int(config.memory_budget_gib * 2**30)
        read = reading.load_split(builder, split, source.features, budget, flag)
        return source.arrange(read, split) if source.arrange else read
    assert source.make is not None, "a source has a dataset or makes its examples"
    made = {name: np.asarray(array) for name, array in source.make(split).items()}
    if not len(made[source.features[0]]):
        raise BadInput(f"--{flag}={split} has no examples; choose another split.")
    return made


def _info(source: Source, builder: Any, read: dict[str, np.ndarray], task: str) -> DataInfo:
    classes: dict[str, int] = {}
    name = task
    if builder is not None:
        name = builder.info.full_name
        for feature in source.features:
            number = getattr(builder.info.features[feature], "num_classes", None)
            if number:
                classes[feature] = int(number)
    shapes = {feature: tuple(array.shape[1:]) for feature, array in read.items()}
    return DataInfo(name=name, shapes=shapes, num_classes=classes)
