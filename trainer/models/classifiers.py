"""Image classifiers: images in [0, 1] to logits."""

from __future__ import annotations

import keras

Shape = tuple[int, int, int]


def dense(
    shape: Shape, num_classes: int, *, width: int, dropout: float, l2: float, batch_norm: bool
) -> keras.Model:
    """One hidden layer: with `width` 128 the 784-128-10 network of the MNIST tutorials.

    Args:
        shape: Height, width and channels of the images.
        num_classes: Logits.
        width: Hidden units.
        dropout: Rate before the last layer.
        l2: Factor of the squared kernels in `model.losses`.
        batch_norm: Whether BatchNormalization follows the hidden layer.
    """
    images = keras.Input(shape, name="image")
    x = keras.layers.Flatten(name="flatten")(images)
    x = keras.layers.Dense(width, kernel_regularizer=_l2(l2), name="hidden")(x)
    x = _normalized(x, batch_norm, "hidden")
    return keras.Model(images, _head(x, num_classes, dropout, l2), name="dense")


def convnet(
    shape: Shape, num_classes: int, *, width: int, dropout: float, l2: float, batch_norm: bool
) -> keras.Model:
    """Two blocks of two 3x3 convolutions, `width` and `2 width` filters, and a dense layer.

    Args:
        shape: Height, width and channels of the images.
        num_classes: Logits.
        width: Filters of the first block.
        dropout: Rate before the last layer.
        l2: Factor of the squared kernels in `model.losses`.
        batch_norm: Whether BatchNormalization follows each convolution.
    """
    images = keras.Input(shape, name="image")
    x = images
    for number, filters in enumerate((width, 2 * width), start=1):
        x = _block(x, filters, l2, batch_norm, name=f"block{number}")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(4 * width, kernel_regularizer=_l2(l2), name="hidden")(x)
    x = _normalized(x, batch_norm, "hidden")
    return keras.Model(images, _head(x, num_classes, dropout, l2), name="convnet")


def _block(
    x: keras.KerasTensor, filters: int, l2: float, batch_norm: bool, name: str
) -> keras.KerasTensor:
    """Two convolutions and a pooling, a model of its own: what `--remat` recomputes."""
    inputs = y = keras.Input(x.shape[1:], name="inputs")
    for part in ("conv_a", "conv_b"):
        y = keras.layers.Conv2D(filters, 3, padding="same", kernel_regularizer=_l2(l2), name=part)(
            y
        )
        y = _normalized(y, batch_norm, part)
    y = keras.layers.MaxPooling2D(name="pool")(y)
    return keras.Model(inputs, y, name=name)(x)


def _normalized(x: keras.KerasTensor, batch_norm: bool, name: str) -> keras.KerasTensor:
    if batch_norm:
        x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _head(x: keras.KerasTensor, num_classes: int, dropout: float, l2: float) -> keras.KerasTensor:
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    # Logits stay float32 under every policy: a softmax of half floats loses the small ones.
    return keras.layers.Dense(
        num_classes, kernel_regularizer=_l2(l2), dtype="float32", name="logits"
    )(x)


def _l2(factor: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(factor) if factor else None
