"""Forecasting: windows over the columns of a CSV file to what follows them."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from trainer import options, table, task
from trainer.errors import BadInput
from trainer.options import option
from trainer.source import DataInfo, Features, Source, check_split

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

EXAMPLE = "https://github.com/zhouhaoyi/ETDataset/blob/main/ETT-small/ETTh1.csv"
WAY_OUT = "leave its column out with --columns"
SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Forecasting"""

    csv: str = option("data/ETTh1.csv", "a CSV file: a line of names, then a line for each time")
    columns: tuple[str, ...] = option(
        (), "the columns to forecast, each from all; empty: all but the first, which is the time"
    )
    split_rows: tuple[int, ...] = option(
        (),
        "rows of the splits train, val and test, in this order; empty: 70%, 10% and 20% of all",
        items=int,
        minimum=1,
    )
    look_back: int = option(336, "rows that a forecast sees", minimum=1)
    horizon: int = option(96, "rows to forecast", minimum=1)
    model: str = option("nlinear", "the network", choices=("nlinear", "dlinear", "lstm"))
    width: int = option(64, "units of lstm", minimum=1)


class Task(task.Task):
    """Windows, float32 `[look_back, columns]`, to `[horizon, columns]`, all standardised.

    The rows of a split are those that are forecast; a window may look back into the split before,
    as in the papers on these tables. Mean and scale are those of split train.
    """

    options: Options

    def source(self) -> Source:
        """Where windows begin: the rows themselves stand in memory once, however they overlap."""
        o = self.options
        names = table.header(o.csv, example=EXAMPLE)
        table.check_columns("columns", o.columns, names, f"--csv={o.csv}")
        if not (o.columns or names[1:]):
            raise BadInput(
                f"--csv={o.csv} has one column; name it with --columns if it is no time."
            )
        if len(o.split_rows) not in (0, len(SPLITS)):
            given = ",".join(map(str, o.split_rows))
            raise BadInput(f"--split_rows={given}: give three numbers, for {', '.join(SPLITS)}.")
        return Source(features=("start",), make=self._make, batch=self._batch, files=(o.csv,))

    def model(self, info: DataInfo) -> keras.Model:
        """The network that `--model` names."""
        from trainer.models import forecasters

        o = self.options
        shape = o.look_back, o.horizon, len(self._columns)
        if o.model == "lstm":
            return forecasters.lstm(*shape, units=o.width)
        return (forecasters.nlinear if o.model == "nlinear" else forecasters.dlinear)(*shape)

    def loss(self) -> keras.losses.Loss:
        """The squared error of each row, the mean over the columns."""
        import keras

        return keras.losses.MeanSquaredError(reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        """The absolute error; the squared one is the loss."""
        import keras

        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def _make(self, split: str) -> Features:
        import numpy as np

        first, end = self._ranges[check_split(split, SPLITS)]
        windows = end - first - self.options.look_back - self.options.horizon + 1
        if windows < 1:
            o = self.options
            raise BadInput(
                f"--csv={o.csv}: split {split} is too short for a window of --look_back="
                f"{o.look_back} and --horizon={o.horizon} rows; it has {end - first}, those before "
                "it that may be looked at included."
            )
        return {"start": first + np.arange(windows)}

    def _batch(self, features: Features) -> tuple[Any, ...]:
        import tensorflow as tf

        past = self.options.look_back
        steps = tf.range(past + self.options.horizon, dtype=tf.int64)
        windows = tf.gather(self._standardised, features["start"][:, None] + steps)
        return windows[:, :past], windows[:, past:]

    @property
    def _columns(self) -> list[str]:
        o = self.options
        return list(o.columns) or table.header(o.csv, example=EXAMPLE)[1:]

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        return table.read(self.options.csv, self._columns, way_out=WAY_OUT)

    @functools.cached_property
    def _ranges(self) -> list[tuple[int, int]]:
        """First row and end of what the windows of each split cover."""
        o, rows = self.options, len(self._rows)
        train, test = int(0.7 * rows), int(0.2 * rows)
        sizes = o.split_rows or (train, rows - train - test, test)
        if sum(sizes) > rows:
            raise BadInput(
                f"--split_rows={','.join(map(str, sizes))} are {sum(sizes)} rows, and --csv="
                f"{o.csv} has {rows}; take fewer."
            )
        train, val, test = sizes
        ends = train, train + val, train + val + test
        firsts = 0, train - o.look_back, train + val - o.look_back
        return [(max(0, first), end) for first, end in zip(firsts, ends, strict=True)]

    @functools.cached_property
    def _standardised(self) -> tf.Tensor:
        """float32 `[rows, columns]`, by the rows of split train."""
        import tensorflow as tf

        mean, scale = table.mean_and_scale(self._rows[: self._ranges[0][1]])
        with tf.init_scope(), tf.device("CPU"):  # one tensor, whichever function asks first
            return tf.constant((self._rows - mean) / scale, tf.float32)
