"""A line through noisy points, y = 3 x + 2: the smallest problem whose answer is known."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from trainer import options, task
from trainer.options import option
from trainer.source import DataInfo, Features, Source, check_split
from trainer.task import Shown

if TYPE_CHECKING:
    import keras

W, B = 3.0, 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Linear regression"""

    model: str = option(
        "layers",
        "layers: one Dense layer; subclassed: a keras.Model with variables of its own",
        choices=("layers", "subclassed"),
    )
    examples: int = option(1000, "points to train on, and as many to test on", minimum=1)
    noise: float = option(0.1, "standard deviation of the noise on y", minimum=0.0)


class Task(task.Task):
    """Points x, float32 `[1]`, to y, float32 `[1]`; shows the learned w and b."""

    options: Options
    shown_numbers = ("w", "b")

    def source(self) -> Source:
        """Points made here, the same each time."""
        return Source(features=("x", "y"), make=self._make, batch=lambda f: (f["x"], f["y"]))

    def model(self, info: DataInfo) -> keras.Model:
        """The model that `--model` names."""
        import keras

        from trainer.models import regressors

        if self.options.model == "layers":
            return regressors.linear(1)
        line = regressors.Line(name="line")
        line(keras.Input(info.shapes["x"]))
        return line

    def loss(self) -> keras.losses.Loss:
        """The squared error."""
        import keras

        return keras.losses.MeanSquaredError(reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Its root, of which the noise leaves `--noise`."""
        import keras

        return [keras.metrics.RootMeanSquaredError(name="rmse")]

    def show(self, model: keras.Model, seed: int) -> Shown:
        """The line that was learned."""
        w, b = (float(v.numpy().item()) for v in model.trainable_variables)
        return Shown(numbers={"w": w, "b": b})

    def _make(self, split: str) -> Features:
        import numpy as np

        rng = np.random.default_rng(check_split(split, ("train", "test")))
        x = rng.normal(size=(self.options.examples, 1))
        y = W * x + B + rng.normal(scale=self.options.noise, size=x.shape)
        return {"x": x.astype(np.float32), "y": y.astype(np.float32)}
