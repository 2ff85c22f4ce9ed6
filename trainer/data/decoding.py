"""Examples one by one, as they are stored, to features of fixed shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from trainer.errors import BadInput
from trainer.source import Features, Source


class Decoding:
    """Stacked features of any rows, read and decoded example by example.

    Several elements of the pipeline are made at once, each by a thread of tf.data.

    Args:
        example: Row, an int64 scalar, to the features of one example.
        source: Whose `decode` is applied, if it has one.
        training: Whether `decode` gets random numbers.

    Attributes:
        specs: Feature name to what one example is, with its whole shape.
        row_bytes: Bytes of one example, what is still uint8 counted as float32.

    Raises:
        BadInput: What is decoded has no fixed shape.
    """

    def __init__(self, example: Callable[[Any], Features], source: Source, training: bool) -> None:
        self.example, self.source = example, source
        self.draws = training and source.decode is not None and source.num_draws > 0
        self.training = training
        self.specs = self._specs()
        shapes = [spec.shape for spec in self.specs.values()]
        self.row_bytes = sum(4 * math.prod(shape) for shape in shapes)

    def __call__(self, rows: Any, draws: Any) -> Features:
        """Features `[len(rows), ...]`.

        Args:
            rows: int64 `[n]`.
            draws: float32 `[n, num_draws]`, used in training alone.
        """
        if self.draws:
            stacked = tf.map_fn(
                lambda both: self._one(*both), (rows, draws), fn_output_signature=self.specs
            )
        else:
            stacked = tf.map_fn(
                lambda row: self._one(row, None), rows, fn_output_signature=self.specs
            )
        return dict(stacked)

    def _one(self, row: Any, draws: Any) -> Features:
        features = self.example(row)
        if self.source.decode is not None:
            features = self.source.decode(features, self.training, draws)
        return {name: tf.ensure_shape(t, self.specs[name].shape) for name, t in features.items()}

    def _specs(self) -> Mapping[str, tf.TensorSpec]:
        """As the first example has them where nothing is decoded."""
        first = self.example(tf.constant(0, tf.int64))
        decode = self.source.decode
        if decode is not None:
            first = tf.function(self._decoded).get_concrete_function(first).structured_outputs
        specs = {n: tf.TensorSpec(t.shape, t.dtype) for n, t in first.items()}
        for name, spec in specs.items():
            if not spec.shape.is_fully_defined():
                raise BadInput(
                    f"Source.decode leaves {name} with the shape {spec.shape}; every dimension of "
                    "an example must be fixed, by a crop, a resize or tf.ensure_shape."
                )
        return specs

    def _decoded(self, features: Features) -> Features:
        draws = tf.zeros([self.source.num_draws]) if self.draws else None
        assert self.source.decode is not None
        return self.source.decode(features, self.training, draws)
