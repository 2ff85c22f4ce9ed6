"""The two-layer sigmoid network on a made function of two numbers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trainer import options, task
from trainer.options import option
from trainer.source import DataInfo, Features, Source, check_split

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """MLP regression"""

    width: int = option(32, "sigmoid units of the hidden layer", minimum=1)
    examples: int = option(2000, "points to train on, and as many to test on", minimum=1)
    noise: float = option(0.1, "standard deviation of the noise on y", minimum=0.0)


class Task(task.Task):
    """Points x, float32 `[2]`, to y = sin(3 x0) + x1 ** 2, float32 `[1]`."""

    options: Options

    def source(self) -> Source:
        """Points made here, the same each time."""
        return Source(features=("x", "y"), make=self._make, batch=lambda f: (f["x"], f["y"]))

    def model(self, info: DataInfo) -> keras.Model:
        """One hidden layer of sigmoids, and a linear one."""
        from trainer.models import regressors

        return regressors.mlp(2, widths=[self.options.width], activation="sigmoid")

    def loss(self) -> keras.losses.Loss:
        """The squared error."""
        import keras

        return keras.losses.MeanSquaredError(reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Its root: `--noise` is the least that any function reaches on new points."""
        import keras

        return [keras.metrics.RootMeanSquaredError(name="rmse")]

    def _make(self, split: str) -> Features:
        import numpy as np

        rng = np.random.default_rng(check_split(split, ("train", "test")))
        x = rng.uniform(-1, 1, size=(self.options.examples, 2))
        y = np.sin(3 * x[:, :1]) + x[:, 1:] ** 2
        y += rng.normal(scale=self.options.noise, size=y.shape)
        return {"x": x.astype(np.float32), "y": y.astype(np.float32)}
