"""Regression over any CSV file of numbers: the `--target` column from the others."""

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

EXAMPLE = "https://github.com/mwaskom/seaborn-data/blob/master/mpg.csv"
WAY_OUT = "leave its column out with --inputs, or rows with a blank with --drop_blank_rows"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """CSV regression"""

    csv: str = option("data/mpg.csv", "a CSV file: a line of names, then numbers")
    target: str = option("mpg", "the column to learn")
    inputs: tuple[str, ...] = option((), "the columns to learn it from; empty: all others")
    drop_blank_rows: bool = option(False, "leave out rows with a blank cell, instead of refusing")
    test_fraction: float = option(
        0.2, "share of the rows in split test, drawn by --split_seed", above=0.0, maximum=0.9
    )
    split_seed: int = option(0, "seed of the drawing of split test", minimum=0)
    model: str = option("linear", "the network", choices=("linear", "mlp"))
    width: int = option(64, "units of each of the two hidden layers of mlp", minimum=1)


class Task(task.Task):
    """Rows, float32 `[inputs]`, to the target, float32 `[1]`, both in the table's own units."""

    options: Options

    def source(self) -> Source:
        """The rows as they stand in the file; refused where their file or a column is missing."""
        o = self.options
        names = table.header(o.csv, example=EXAMPLE)
        table.check_columns("target", [o.target], names, f"--csv={o.csv}")
        table.check_columns("inputs", o.inputs, names, f"--csv={o.csv}")
        if o.target in o.inputs:
            raise BadInput(f"--inputs has the column of --target={o.target}; leave it out there.")
        return Source(
            features=("row", "target"), make=self._make, batch=self._batch, files=(o.csv,)
        )

    def model(self, info: DataInfo) -> keras.Model:
        """The network that `--model` names, standardised by the training split."""
        from trainer.models import regressors

        size = info.shapes["row"][0]
        if self.options.model == "linear":
            network = regressors.linear(size)
        else:
            network = regressors.mlp(size, widths=[self.options.width] * 2, activation="relu")
        mean, scale = self._statistics
        inputs, output = (mean[:-1], scale[:-1]), (float(mean[-1]), float(scale[-1]))
        return regressors.in_units(network, inputs, output)

    def loss(self) -> keras.losses.Loss:
        """The squared error."""
        import keras

        return keras.losses.MeanSquaredError(reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Its root in the target's units."""
        import keras

        return [keras.metrics.RootMeanSquaredError(name="rmse")]

    def read_input(self, path: str, info: DataInfo) -> tuple[Features, Features]:
        """The rows of another CSV file with the columns of the inputs; a target is not needed.

        Returns:
            The number of each row, and the features that `Source.batch` takes, the target 0.

        Raises:
            BadInput: The file, a column of it or a number is missing.
        """
        import numpy as np

        names = table.header(path, flag="input")
        table.check_columns("inputs", self._inputs, names, f"--input={path}")
        rows = table.read(path, self._inputs, way_out="drop its row", flag="input")
        target = np.zeros((len(rows), 1), np.float32)
        return {"row": np.arange(1, len(rows) + 1)}, {
            "row": rows.astype("float32"),
            "target": target,
        }

    def describe(self, prediction: np.ndarray, info: DataInfo) -> Features:
        """The target of each row, `[rows]`, in its own units."""
        return {self.options.target: prediction[:, 0]}

    def _make(self, split: str) -> Features:
        import numpy as np

        rows = self._splits[check_split(split, ("train", "test"))].astype(np.float32)
        return {"row": rows[:, :-1], "target": rows[:, -1:]}

    def _batch(self, features: Features) -> tuple[Any, ...]:
        """Weighted by one over the target's variance: a loss of 1 is what its mean would reach.

        One learning rate then serves targets of any units, as if they had been standardised.
        """
        import tensorflow as tf

        row, target = features["row"], features["target"]
        weight = tf.fill(
            tf.shape(target)[:1], tf.constant(self._statistics[1][-1] ** -2.0, "float32")
        )
        return row, target, weight

    @property
    def _inputs(self) -> list[str]:
        o = self.options
        names = table.header(o.csv, example=EXAMPLE)
        return list(o.inputs) or [name for name in names if name != o.target]

    @functools.cached_property
    def _splits(self) -> tuple[np.ndarray, np.ndarray]:
        """Split train and split test, `[rows, inputs + 1]` with the target last.

        Which rows are in which depends on --split_seed and the number of rows alone; within a
        split they keep their order.
        """
        import numpy as np

        o = self.options
        columns = [*self._inputs, o.target]
        rows = table.read(o.csv, columns, way_out=WAY_OUT, drop_blank=o.drop_blank_rows)
        in_test = round(o.test_fraction * len(rows))
        if not 0 < in_test < len(rows):
            raise BadInput(
                f"--test_fraction={o.test_fraction} leaves a split of the {len(rows)} rows of "
                f"--csv={o.csv} empty; choose another, or give a longer table."
            )
        order = np.random.default_rng(o.split_seed).permutation(len(rows))
        return rows[np.sort(order[in_test:])], rows[np.sort(order[:in_test])]

    @functools.cached_property
    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale of the columns, by split train alone."""
        return table.mean_and_scale(self._splits[0])
