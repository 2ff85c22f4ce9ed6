"""Generators and discriminators, and the two as one model."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

Shape = tuple[int, ...]
Losses = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable(package="trainer")
class Adversaries(keras.Model):
    """Latents and real examples to (made examples, their logits, logits of the real ones).

    `model.generator` is a model of Keras's own layers: saved by itself, it loads without this
    project.

    `model.fit()` trains it in Keras's way, with a `train_step` that has a tape and an optimizer for
    each network. This is the baseline of the project's own loop, which does not use it.

    Args:
        generator: Latents `[b, latents]` to examples `[b, ...]`.
        discriminator: Examples `[b, ...]` to logits `[b, 1]` of being real.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model) -> None:
        latents = keras.Input(generator.input_shape[1:], name="latents")
        real = keras.Input(discriminator.input_shape[1:], name="real")
        made = generator(latents)
        outputs = [made, discriminator(made), discriminator(real)]
        super().__init__([latents, real], outputs, name="gan")
        self.generator, self.discriminator = generator, discriminator
        names = {"generator": "loss", "discriminator": "discriminator"}
        self.trackers = {k: keras.metrics.Mean(name=name) for k, name in names.items()}

    def get_config(self) -> dict[str, Any]:
        """Both networks."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {k: keras.saving.serialize_keras_object(v) for k, v in networks.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Adversaries:
        """The model that `get_config` described."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})

    def compile(self, optimizers: dict[str, keras.optimizers.Optimizer], **settings: Any) -> None:
        """As Keras's, with an optimizer for each network.

        Args:
            optimizers: Of `generator` and `discriminator`.
            settings: Of `keras.Model.compile`.
        """
        super().compile(optimizer=optimizers["generator"], **settings)
        self.optimizers = optimizers

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` resets at an epoch's start: the mean of each loss."""
        return list(self.trackers.values())

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step of `fit`: both losses from one forward pass, seen by two tapes."""
        with tf.GradientTape() as generating, tf.GradientTape() as discriminating:
            losses = adversarial_losses(*self(data, training=True)[1:])
            means = {name: tf.nn.compute_average_loss(loss) for name, loss in losses.items()}
        for name, tape in (("generator", generating), ("discriminator", discriminating)):
            variables = getattr(self, name).trainable_variables
            self.optimizers[name].apply(tape.gradient(means[name], variables), variables)
        return self._means(losses)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step of `fit`'s evaluation."""
        return self._means(adversarial_losses(*self(data, training=False)[1:]))

    def _means(self, losses: Losses) -> dict[str, tf.Tensor]:
        for name, loss in losses.items():
            self.trackers[name].update_state(loss)
        return self.get_metrics_result()


def adversarial_losses(made: tf.Tensor, real: tf.Tensor) -> Losses:
    """Both sides' losses, the generator's in the form that does not saturate.

    Args:
        made: Logits of made examples, float32 `[b, 1]`.
        real: Logits of real ones, likewise.

    Returns:
        `generator` and `discriminator`, float32 `[b]` each.

    References:
        Goodfellow et al.: Generative adversarial nets, 2014, section 3.
    """
    return {
        "generator": tf.nn.softplus(-made)[:, 0],
        "discriminator": (tf.nn.softplus(made) + tf.nn.softplus(-real))[:, 0],
    }


def dense(shape: Shape, *, latents: int, width: int, dropout: float, bounded: bool) -> Adversaries:
    """Two hidden layers a network.

    Args:
        shape: Of an example.
        latents: Numbers that the generator starts from.
        width: Hidden units of a layer.
        dropout: Rate in the discriminator.
        bounded: Whether examples lie in [-1, 1].
    """
    layers, size = keras.layers, 1
    for length in shape:
        size *= length
    generator = keras.Sequential(
        [
            keras.Input((latents,)),
            layers.Dense(width, "relu"),
            layers.Dense(width, "relu"),
            layers.Dense(size, "tanh" if bounded else None, dtype="float32"),
            layers.Reshape(shape, dtype="float32"),
        ],
        name="generator",
    )
    hidden = [layers.Dense(width), layers.LeakyReLU(0.2), *_dropout(dropout)]
    hidden += [layers.Dense(width), layers.LeakyReLU(0.2), *_dropout(dropout)]
    discriminator = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), *hidden, _logit()], name="discriminator"
    )
    return Adversaries(generator, discriminator)


def dcgan(shape: Shape, *, latents: int, width: int, dropout: float) -> Adversaries:
    """Strided convolutions down, transposed ones up: for images in [-1, 1].

    Args:
        shape: Height and width, each divisible by 4, and channels.
        latents: Numbers that the generator starts from.
        width: Filters of the discriminator's first layer; the generator begins with four times
            as many.
        dropout: Rate in the discriminator.

    References:
        Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional
        generative adversarial networks, 2016.
    """
    layers, (height, wide, channels) = keras.layers, shape
    start = (height // 4, wide // 4, 4 * width)
    norm = {"use_bias": False, "kernel_initializer": _normal()}
    generator = keras.Sequential(
        [
            keras.Input((latents,)),
            layers.Dense(start[0] * start[1] * start[2], **norm),
            layers.Reshape(start),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2DTranspose(2 * width, 4, 2, "same", **norm),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Conv2DTranspose(channels, 4, 2, "same", kernel_initializer=_normal()),
            layers.Activation("tanh", dtype="float32"),
        ],
        name="generator",
    )
    # no BatchNormalization here: real and made examples are normalised apart from each other, and
    # what tells them apart would be lost
    down = []
    for filters in (width, 2 * width):
        down.append(layers.Conv2D(filters, 4, 2, "same", kernel_initializer=_normal()))
        down += [layers.LeakyReLU(0.2), *_dropout(dropout)]
    discriminator = keras.Sequential(
        [keras.Input(shape), *down, layers.Flatten(), _logit()], name="discriminator"
    )
    return Adversaries(generator, discriminator)


def _normal() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=0.02)


def _dropout(rate: float) -> list[keras.layers.Layer]:
    return [keras.layers.Dropout(rate)] if rate else []


def _logit() -> keras.layers.Layer:
    return keras.layers.Dense(1, dtype="float32", name="logit")
