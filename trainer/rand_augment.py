"""RandAugment out of Keras's layers, for each image by itself.

`keras.layers.RandAugment` draws the operations once for the whole batch, from a seed of its own
whatever `seed` it is given (Keras 3.15), computes all of them to keep one, and at its default
strength turns images by up to 180 degrees. Here each image has operations of its own out of the
same layers, computed alone, as strong as in the paper, and they follow from its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

STRONGEST = 10.0


class Drawn(keras.random.SeedGenerator):
    """Seeds that follow from a number instead of a state.

    Keras's layers take a generator as `seed`, and ask it for each of their random tensors.

    Args:
        number: An integer scalar.
    """

    def __init__(self, number: Any) -> None:  # a generator's own would make a variable
        self.number = tf.cast(number, tf.int32)
        self.asked = 0

    def next(self, ordered: bool = True) -> Any:
        """Another seed each time, int32 `[2]`."""
        self.asked += 1
        return tf.stack([self.number, self.asked])


class RandAugment:
    """Some random operations on each image, usually two.

    Args:
        magnitude: From 0 to 10: up to how much of an operation's strongest form is drawn.

    References:
        Cubuk, Zoph, Shlens, Le: RandAugment: Practical automated data augmentation with a reduced
        search space, 2019; the strongest forms: Cubuk et al.: AutoAugment, 2019, table 6.
    """

    def __init__(self, magnitude: float) -> None:
        m, layers, kind = magnitude / STRONGEST, keras.layers, {"dtype": "float32"}
        self.operations: list[keras.layers.Layer] = [
            layers.RandomShear(x_factor=0.3 * m, **kind),
            layers.RandomShear(y_factor=0.3 * m, **kind),
            layers.RandomTranslation(height_factor=0.45 * m, width_factor=0.0, **kind),
            layers.RandomTranslation(height_factor=0.0, width_factor=0.45 * m, **kind),
            layers.RandomRotation(30 / 360 * m, **kind),
            layers.RandomBrightness(0.9 * m, **kind),
            layers.RandomColorDegeneration(0.9 * m, **kind),
            layers.RandomContrast(0.9 * m, **kind),
            layers.RandomSharpness(0.9 * m, **kind),
            layers.RandomPosterization((8 - round(4 * m), 8), **kind),
            # any threshold at any magnitude: Keras 3.15 does not scale the lower bound
            layers.Solarization(threshold_factor=1.0, **kind),
            layers.AutoContrast(**kind),
            layers.Equalization(**kind),
        ]

    def __call__(self, images: Any, draws: Any) -> Any:
        """The images, changed.

        Args:
            images: uint8 `[b, height, width, channels]`, or float in [0, 1].
            draws: Uniform in [0, 1), float32 `[b, 3 n]` for n operations.

        Returns:
            Of the images' shape and dtype.
        """
        shape, dtype = images.shape[1:], images.dtype
        operations = [o for o in self.operations if shape[-1] == 3 or not _of_colors(o)]
        levels = tf.cast(images, tf.float32) * (1.0 if dtype.is_integer else 255.0)
        changed = tf.map_fn(
            lambda pair: _changed(operations, *pair),
            (levels, draws),
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        changed = tf.clip_by_value(changed, 0.0, 255.0)
        return tf.cast(tf.round(changed), dtype) if dtype.is_integer else changed / 255.0


def _of_colors(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.RandomColorDegeneration)


def _changed(operations: Sequence[keras.layers.Layer], image: Any, draws: Any) -> Any:
    """One image after its operations; only those that are chosen are computed."""
    for draw in tf.unstack(tf.reshape(draws, (-1, 3))):
        choice = tf.cast(draw[0] * len(operations), tf.int32)
        high, low = tf.unstack(tf.cast(draw[1:] * 2.0**15, tf.int32))
        image = tf.switch_case(choice, [_applied(o, image, high * 2**15 + low) for o in operations])
    return image


def _applied(layer: keras.layers.Layer, image: Any, seed: Any) -> Any:
    """A function without arguments, for `tf.switch_case`."""

    def apply() -> Any:
        images = image[None]
        transformation = layer.get_random_transformation(images, training=True, seed=Drawn(seed))
        changed = tf.cast(layer.transform_images(images, transformation, training=True), tf.float32)
        return tf.ensure_shape(changed[0], image.shape)

    return apply
