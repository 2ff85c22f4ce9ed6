"""A task over rows of a table: `--task=tests.modes.table`. The sum of two columns is learned."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trainer import options, task
from trainer.errors import BadInput
from trainer.source import DataInfo, Features, Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Rows of a table"""


class Task(task.Task):
    """Two numbers to their sum."""

    def source(self) -> Source:
        return Source(features=("row", "sum"), make=_made, batch=lambda f: (f["row"], f["sum"]))

    def model(self, info: DataInfo) -> keras.Model:
        row = keras.Input(info.shapes["row"])
        return keras.Model(row, keras.layers.Dense(1)(row))

    def loss(self) -> keras.losses.Loss:
        return keras.losses.MeanSquaredError(reduction=None)

    def read_input(self, path: str, info: DataInfo) -> tuple[Features, Features]:
        rows = []
        with Path(path).open(newline="") as file:
            for number, cells in enumerate(csv.DictReader(file), start=2):
                try:
                    rows.append([float(cells[name]) for name in ("a", "b")])
                except (KeyError, TypeError, ValueError):
                    raise BadInput(f"--input={path}: row {number} has no numbers.") from None
        row = np.asarray(rows, np.float32)
        names = {"row": list(range(2, len(rows) + 2))}
        return names, {"row": row, "sum": np.zeros((len(rows), 1), np.float32)}

    def describe(self, prediction: Any, info: DataInfo) -> Features:
        return {"sum": prediction[:, 0]}


def _made(split: str) -> Features:
    row = np.random.default_rng(len(split)).uniform(size=(40, 2)).astype(np.float32)
    return {"row": row, "sum": row.sum(axis=1, keepdims=True)}
