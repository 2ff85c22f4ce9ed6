"""Networks that give one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def linear(size: int) -> keras.Model:
    """A weighted sum of the inputs, and a bias.

    Args:
        size: Inputs.
    """
    inputs = keras.Input((size,), name="inputs")
    return keras.Model(inputs, _output(inputs), name="linear")


def mlp(size: int, *, widths: Sequence[int], activation: str) -> keras.Model:
    """Hidden layers, and a weighted sum of the last one.

    Args:
        size: Inputs.
        widths: Units of each hidden layer.
        activation: Of the hidden layers, by its name in Keras.
    """
    x = inputs = keras.Input((size,), name="inputs")
    for number, width in enumerate(widths, start=1):
        x = keras.layers.Dense(width, activation=activation, name=f"hidden{number}")(x)
    return keras.Model(inputs, _output(x), name="mlp")


@keras.saving.register_keras_serializable(package="trainer")
class Line(keras.Model):
    """`w x + b` with variables of its own instead of layers: float32 `[b, 1]` to `[b, 1]`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.w = self.add_weight(shape=(1,), initializer="random_normal", name="w")
        self.b = self.add_weight(shape=(1,), initializer="zeros", name="b")

    def build(self, input_shape: Any) -> None:
        """Nothing to do: the variables do not depend on the input's shape."""
        self.built = True

    def call(self, x: Any) -> Any:
        """The line's height at each x."""
        return self.w * x + self.b


def in_units(
    network: keras.Model,
    inputs: tuple[np.ndarray, np.ndarray],
    output: tuple[float, float],
) -> keras.Model:
    """A network that learns on standardised numbers, as a model from and to the numbers' own units.

    The statistics are part of the model, so that it takes raw rows wherever it is saved to.

    Args:
        network: From `[b, size]` to `[b, 1]`.
        inputs: Mean and standard deviation of each input, `[size]` both.
        output: Mean and standard deviation of the target.
    """
    mean, scale = inputs
    rows = keras.Input((len(mean),), name="row")
    x = keras.layers.Normalization(
        mean=mean.tolist(), variance=(scale**2).tolist(), dtype="float32", name="standardised"
    )(rows)
    y = keras.layers.Rescaling(output[1], output[0], dtype="float32", name="in_units")(network(x))
    return keras.Model(rows, y, name=network.name)


def _output(x: keras.KerasTensor) -> keras.KerasTensor:
    # float32 under every policy: half floats would round the prediction to 3 digits
    return keras.layers.Dense(1, dtype="float32", name="output")(x)
