"""Evaluation on the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf


class EvaluateAverages(keras.callbacks.Callback):
    """Lends the model its averaged weights from an evaluation to the end of its epoch.

    So whoever keeps weights for their metrics (EarlyStopping, ModelCheckpoint) keeps those that
    were evaluated. It stands behind them, and before what saves the run's state: raw weights.

    Keras's `SwapEMAWeights` swaps by adding and subtracting, which changes the raw weights by
    rounding each time; here they come back to the bit.

    Args:
        optimizers: Keras optimizers with `use_ema`.
    """

    def __init__(self, optimizers: Iterable[keras.optimizers.Optimizer]) -> None:
        super().__init__()
        self.optimizers = list(optimizers)
        self._raw: list[tuple[tf.Variable, tf.Tensor]] = []

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Averages in."""
        self.lend()

    def lend(self) -> None:
        """Averages in, once an epoch however often is asked for them."""
        if self._raw:
            return
        for optimizer in self.optimizers:
            averages = optimizer._model_variables_moving_average
            for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
                self._raw.append((variable.value, tf.identity(variable.value)))
                variable.value.assign(tf.identity(average.value))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raw weights back."""
        self.put_back()

    def put_back(self) -> None:
        """The model has its raw weights, whether or not the averages were in."""
        for variable, raw in self._raw:
            variable.assign(raw)
        self._raw = []
