"""The residual networks for small images: 6n + 2 layers."""

from __future__ import annotations

import keras

Shape = tuple[int, int, int]


def resnet(
    shape: Shape, num_classes: int, *, depth: int, width: int, dropout: float, l2: float
) -> keras.Model:
    """Three stages of `(depth - 2) / 6` blocks, with `width`, `2 width` and `4 width` filters.

    With `width` 16 and depth 20 or 56 the CIFAR networks of the paper, with its parameter-free
    shortcuts (option A) and initialisation. A block is a model of its own: `--remat` recomputes it.

    Args:
        shape: Height, width and channels of the images.
        num_classes: Logits.
        depth: 20, 32, 44, 56, 110 or another `6n + 2`: 3x3 convolutions and the last layer.
        width: Filters of the first stage.
        dropout: Rate before the last layer; the paper has none.
        l2: Factor of the squared kernels in `model.losses`.

    References:
        He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2016, section 4.2.
    """
    images = keras.Input(shape, name="image")
    x = _convolution(images, width, 1, l2, "first")
    x = keras.layers.ReLU(name="first_relu")(x)
    for stage in (1, 2, 3):
        for number in range(1, (depth - 2) // 6 + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            filters = width * 2 ** (stage - 1)
            x = _block(x, filters, stride, l2, f"stage{stage}_block{number}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer="he_normal",
        kernel_regularizer=_l2(l2),
        dtype="float32",  # a softmax of half floats loses the small ones
        name="logits",
    )(x)
    return keras.Model(images, logits, name=f"resnet{depth}")


def _block(
    x: keras.KerasTensor, filters: int, stride: int, l2: float, name: str
) -> keras.KerasTensor:
    """Two convolutions beside a shortcut: every `stride`-th pixel, and zeros for new channels."""
    inputs = keras.Input(x.shape[1:], name="inputs")
    y = _convolution(inputs, filters, stride, l2, "a")
    y = keras.layers.ReLU(name="a_relu")(y)
    y = _convolution(y, filters, 1, l2, "b")
    shortcut = inputs
    if stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, stride, name="pixels")(shortcut)
    if new := filters - inputs.shape[-1]:
        shortcut = keras.ops.pad(shortcut, [(0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)])
    y = keras.layers.Add(name="sum")([y, shortcut])
    y = keras.layers.ReLU(name="relu")(y)
    return keras.Model(inputs, y, name=name)(x)


def _convolution(
    x: keras.KerasTensor, filters: int, stride: int, l2: float, name: str
) -> keras.KerasTensor:
    """3x3, then BatchNormalization, which makes a bias idle."""
    if stride > 1:
        # "same" would pad an even size below and right alone, half a pixel off the shortcut
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_padding")(x)
    x = keras.layers.Conv2D(
        filters,
        3,
        stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=_l2(l2),
        name=name,
    )(x)
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)


def _l2(factor: float) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(factor) if factor else None
