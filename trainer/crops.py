"""Where an image is cut out and how it comes to its size; from arrays and from files alike.

A `Window` chooses a part of an image by its height and width, int32 scalars: top, left, height and
width of the part, int32 `[4]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Size = tuple[int, int]
Window = Callable[[Any, Any], Any]

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
CENTER = 0.875  # 224 of 256


def random_window(draws: Any) -> Window:
    """8 to 100 % of the area at an aspect of 3/4 to 4/3, somewhere in the image.

    Area and the aspect's logarithm are uniform; of n attempts the first that fits is taken, and
    where none does, the largest window in the middle whose aspect is allowed.

    Args:
        draws: Uniform in [0, 1), float32 `[2 n + 2]`: areas, aspects, top, left.

    References:
        Szegedy et al.: Going deeper with convolutions, 2015, section 6.
    """

    def window(height: Any, width: Any) -> Any:
        h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        low, high = (math.log(aspect) for aspect in ASPECT)
        areas, aspects = tf.unstack(tf.reshape(draws[:-2], (2, -1)))
        area = h * w * (AREA[0] + areas * (AREA[1] - AREA[0]))
        aspect = tf.exp(low + aspects * (high - low))
        heights, widths = tf.round(tf.sqrt(area / aspect)), tf.round(tf.sqrt(area * aspect))
        fits = (heights >= 1) & (heights <= h) & (widths >= 1) & (widths <= w)
        found, first = tf.reduce_any(fits), tf.argmax(tf.cast(fits, tf.int32))
        tallest, widest = tf.round(w / ASPECT[0]), tf.round(h * ASPECT[1])
        cut_h = tf.where(found, heights[first], tf.minimum(h, tallest))
        cut_w = tf.where(found, widths[first], tf.minimum(w, widest))
        top, left = tf.unstack(tf.where(found, draws[-2:], 0.5))
        top, left = tf.floor(top * (h - cut_h + 1)), tf.floor(left * (w - cut_w + 1))
        return tf.cast(tf.stack([top, left, cut_h, cut_w]), tf.int32)

    return window


def center_window(height: Any, width: Any) -> Any:
    """The square in the middle whose side is 0.875 of the shorter one: what evaluation sees.

    The same as the usual resizing of the shorter side to 256 and cutting 224 x 224 out of it.
    """
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(tf.cast(tf.round(CENTER * shorter), tf.int32), 1)
    return tf.stack([(height - side) // 2, (width - side) // 2, side, side])


def cut_out(image: Any, window: Window, size: Size) -> Any:
    """The window of an image, resized bilinearly.

    Args:
        image: uint8 or float `[height, width, channels]`; or a JPEG, PNG, GIF or BMP file, a string
            scalar, which gives three channels. Of a JPEG the window alone is decoded.
        window: What to cut out.
        size: Height and width of the result.

    Returns:
        `[*size, channels]`: floats where the image has them, else uint8.
    """
    if image.dtype != tf.string:
        return _cut_out(image, window, size)

    def jpeg() -> Any:
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(image))
        part = tf.image.decode_and_crop_jpeg(image, window(height, width), channels=3)
        return _resized(part, size)

    def other() -> Any:
        return _cut_out(tf.io.decode_image(image, 3, expand_animations=False), window, size)

    return tf.cond(tf.io.is_jpeg(image), jpeg, other)


def _cut_out(image: Any, window: Window, size: Size) -> Any:
    top, left, height, width = tf.unstack(window(tf.shape(image)[0], tf.shape(image)[1]))
    part = image[top : top + height, left : left + width]
    return tf.ensure_shape(_resized(part, size), (*size, image.shape[-1]))


def _resized(part: Any, size: Size) -> Any:
    resized = tf.image.resize(part, size)
    return tf.cast(tf.round(resized), part.dtype) if part.dtype.is_integer else resized


def moved(images: Any, draws: Any, shift: int, flip: bool) -> Any:
    """Images moved and mirrored; what comes in at an edge is black.

    Args:
        images: `[b, height, width, channels]`.
        draws: Uniform in [0, 1), float32 `[b, 3]`: down, right, mirrored.
        shift: Most pixels in each direction.
        flip: Whether to mirror every other image, left to right.
    """
    height, width = images.shape[1:3]
    if flip:
        mirrored = draws[:, 2, None, None, None] < 0.5
        images = tf.where(mirrored, tf.reverse(images, [2]), images)
    if shift:
        images = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
        offset = tf.cast(draws[:, :2] * (2 * shift + 1), tf.int32)
        rows = offset[:, :1] + tf.range(height)
        columns = offset[:, 1:] + tf.range(width)
        images = tf.gather(images, rows, axis=1, batch_dims=1)
        images = tf.gather(images, columns, axis=2, batch_dims=1)
    return images
