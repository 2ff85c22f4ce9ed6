"""A user's task whose loss, but not its gradient, is infinite on some labels' first row."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tests import made
from tests.made import Options

__all__ = ["Options", "Task"]


class Infinite(keras.losses.Loss):
    """Cross-entropy, and infinity where the label is the last class."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        values = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        worst = tf.cast(tf.reshape(y_true, tf.shape(values)), tf.int32) == made.CLASSES - 1
        return values + tf.where(worst, float("inf"), 0.0)


class Task(made.Task):
    """As `made`, with another loss."""

    def loss(self) -> keras.losses.Loss:
        return Infinite(reduction=None)
