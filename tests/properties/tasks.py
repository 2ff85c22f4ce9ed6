"""Small problems for the property tests: `--task=tests.properties.tasks --problem=...`."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer import options, task
from trainer.options import option
from trainer.source import DataInfo, Features, Source
from trainer.task import Outcome, PerExample

PROBLEMS = ("dense", "convnet", "tokens", "masked", "bag", "binary", "game")
CLASSES, TIME, WORDS = 3, 5, 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Property tests"""

    problem: str = option("dense", "which data, model and loss", choices=PROBLEMS)
    examples: int = option(35, "training examples: in batches of 8 the last one has 3", minimum=1)
    weighted: bool = option(False, "give each element a weight")
    class_weights: tuple[float, ...] = option((), "weight of each class", items=float)
    l2: float = option(0.0, "factor of the squared kernels")
    dropout: float = option(0.0, "rate before the last layer")
    planted: tuple[int, ...] = option((), "rows of infinite input", items=int)


class Task(task.Task):
    """Classes from vectors, images, words or bags of words; one logit; a game of two networks."""

    options: Options

    def source(self) -> Source:
        return Source(features=("x", "y", "weight"), make=self._make, batch=self._batch)

    def model(self, info: DataInfo) -> keras.Model:
        inputs = keras.Input(info.shapes["x"], dtype="int32" if self._words else "float32")
        layers = getattr(self, f"_{self.options.problem}")()
        if self.options.dropout:
            layers.insert(-1, keras.layers.Dropout(self.options.dropout))
        x = inputs
        for layer in layers:
            x = layer(x)
        return keras.Model(inputs, x)

    def loss(self) -> keras.losses.Loss:
        if self.options.problem == "binary":
            return keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        if self.options.problem == "binary":
            return [keras.metrics.AUC(from_logits=True), keras.metrics.BinaryIoU(threshold=0.0)]
        if self.options.problem == "game":
            return []
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def objectives(self, model: keras.Model) -> dict[str, list[keras.Variable]]:
        if self.options.problem != "game":
            return super().objectives(model)
        player, judge = model.layers[1:]
        return {"player": player.trainable_variables, "judge": judge.trainable_variables}

    def forward(self, model: keras.Model, batch: tuple[Any, ...], training: bool) -> Outcome:
        if self.options.problem == "game":
            return self._play(model, batch, training)
        outcome = super().forward(model, batch, training)
        if self.options.problem != "masked":
            return outcome
        explicit = dataclasses.replace(outcome.losses["loss"], mask=batch[0] != 0)
        return dataclasses.replace(outcome, losses={"loss": explicit})

    @property
    def _words(self) -> bool:
        return self.options.problem in ("tokens", "masked", "bag")

    @property
    def _sequences(self) -> bool:
        return self.options.problem in ("tokens", "masked")

    def _make(self, split: str) -> Features:
        o = self.options
        rng = np.random.default_rng(len(split))
        number = o.examples if split == "train" else 29
        shape = {"convnet": (6, 6, 2)}.get(o.problem, (TIME,) if self._words else (6,))
        x = rng.normal(size=(number, *shape)).astype(np.float32)
        if self._words:  # 0 is the padding; no sentence is empty
            x = rng.integers(0, WORDS, (number, TIME)).astype(np.int32)
            x[:, 0] = rng.integers(1, WORDS, number)
        size = (number, TIME) if self._sequences else (number,)
        y = rng.integers(0, CLASSES, size)
        if o.problem == "binary":
            y = (x[:, :1] + rng.normal(size=(number, 1)) > 0).astype(np.float32)
        weight = rng.uniform(0.1, 2.0, size).astype(np.float32)
        if split == "train" and o.planted:
            x[list(o.planted)] = np.inf
        return {"x": x, "y": y, "weight": weight}

    def _batch(self, features: Features) -> tuple[Any, ...]:
        x, y, weight = features["x"], features["y"], features["weight"]
        if self.options.class_weights:
            return x, y, tf.gather(tf.constant(self.options.class_weights), y)
        return (x, y, weight) if self.options.weighted else (x, y)

    def _dense(self) -> list[keras.layers.Layer]:
        layers = keras.layers
        kernel = keras.regularizers.L2(self.options.l2)
        return [layers.Dense(16, "tanh", kernel_regularizer=kernel), _logits(CLASSES)]

    def _binary(self) -> list[keras.layers.Layer]:
        return [keras.layers.Dense(8, "tanh"), _logits(1)]

    def _convnet(self) -> list[keras.layers.Layer]:
        # no bias before BatchNormalization: its gradient is zero but for rounding, which Adam and
        # Lion would blow up to whole updates
        layers = keras.layers
        kernel = keras.regularizers.L2(self.options.l2)
        return [
            layers.Conv2D(4, 3, use_bias=False, kernel_regularizer=kernel),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Flatten(),
            _logits(CLASSES),
        ]

    def _tokens(self) -> list[keras.layers.Layer]:
        layers = keras.layers
        return [
            layers.Embedding(WORDS, 4, mask_zero=True),
            layers.Dense(8, "tanh"),
            _logits(CLASSES),
        ]

    def _masked(self) -> list[keras.layers.Layer]:
        layers = keras.layers
        return [layers.Embedding(WORDS, 4), layers.Dense(8, "tanh"), _logits(CLASSES)]

    def _bag(self) -> list[keras.layers.Layer]:
        return [
            keras.layers.Embedding(WORDS, 4),
            keras.layers.GlobalAveragePooling1D(),
            _logits(CLASSES),
        ]

    def _game(self) -> list[keras.layers.Layer]:
        player = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(6)]
        )
        judge = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "tanh"), _logits(1)])
        return [player, judge]

    def _play(self, model: keras.Model, batch: tuple[Any, ...], training: bool) -> Outcome:
        """The player turns x around so that the judge takes it for x."""
        x, y = batch[:2]
        player, judge = model.layers[1:]
        made, real = judge(player(x[:, ::-1], training=training)), judge(x)
        losses = {
            "player": tf.nn.softplus(-made)[:, 0],
            "judge": (tf.nn.softplus(made) + tf.nn.softplus(-real))[:, 0],
        }
        return Outcome(
            losses={name: PerExample(values=values) for name, values in losses.items()},
            y=y,
            prediction=made,
        )


def _logits(number: int) -> keras.layers.Layer:
    return keras.layers.Dense(number, dtype="float32")
