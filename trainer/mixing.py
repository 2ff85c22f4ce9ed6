"""MixUp and CutMix: an example and the one that follows it in the global batch, in one.

Keras's layers of these names draw a permutation and the weights from one seed for the batch that
they are given: on several replicas that is a part, and the result would depend on how many there
are. Here the partner is the next example (as `batch.roll(1)` of torchvision's recipes finds it),
and how the two are mixed is a function of numbers of their own.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

HALVINGS = 24  # as fine as float32


def mixed(
    own: tuple[Any, Any], following: tuple[Any, Any], draws: Any, mixup: float, cutmix: float
) -> tuple[Any, Any]:
    """Images and labels that are mixtures; with both methods, half of them by each.

    Args:
        own: Images, float32 `[b, height, width, channels]`, and labels, float32 `[b, num_classes]`.
        following: Each one's partner.
        draws: Uniform in [0, 1), float32 `[b, 4]`.
        mixup: The share of the example itself is distributed as Beta(mixup, mixup); 0: no MixUp.
        cutmix: Likewise, the share that a box leaves of it; 0: no CutMix.

    References:
        Zhang et al.: mixup: Beyond empirical risk minimization, 2018.
        Yun et al.: CutMix: Regularization strategy to train strong classifiers with localizable
        features, 2019.
    """
    (x, y), (other_x, other_y) = own, following
    shares = _shares(draws, mixup, cutmix, x.shape[1], x.shape[2])
    of_label = tf.reduce_mean(shares, axis=[1, 2])
    return _blended(x, other_x, shares), _blended(y, other_y, of_label)


def _blended(own: Any, other: Any, share: Any) -> Any:
    return share * own + (1.0 - share) * other


def _shares(draws: Any, mixup: float, cutmix: float, height: int, width: int) -> Any:
    """How much of each pixel is the example's own, float32 `[b, height, width, 1]`."""
    shape = [tf.shape(draws)[0], height, width, 1]
    even = cut = None
    if mixup:
        even = tf.broadcast_to(beta_quantile(draws[:, 1], mixup)[:, None, None, None], shape)
    if cutmix:
        share = beta_quantile(draws[:, 1], cutmix)
        cut = 1.0 - tf.cast(boxes(share, draws[:, 2], draws[:, 3], height, width), tf.float32)
    if even is None or cut is None:
        return cut if even is None else even
    return tf.where(draws[:, 0, None, None, None] < 0.5, even, cut)


def boxes(share: Any, y: Any, x: Any, height: int, width: int) -> Any:
    """Boxes of `1 - share` of the area, around a point; what lies outside the image is lost.

    Args:
        share: What is to be left of an image, float32 `[b]`.
        y: The centre, uniform in [0, 1), float32 `[b]`.
        x: Likewise.
        height: Of the images.
        width: Likewise.

    Returns:
        bool `[b, height, width, 1]`.
    """

    def within(center: Any, length: int) -> Any:
        half = tf.floor(length * tf.sqrt(1.0 - share)) / 2
        middle = tf.floor(center * length)
        position = tf.range(length, dtype=tf.float32)
        low, high = tf.floor(middle - half), tf.floor(middle + half)
        return (position >= low[:, None]) & (position < high[:, None])

    return (within(y, height)[:, :, None] & within(x, width)[:, None, :])[..., None]


def beta_quantile(probability: Any, alpha: float) -> Any:
    """The quantile function of Beta(alpha, alpha): uniform numbers to numbers so distributed.

    `tf.random.stateless_gamma` takes one seed for a whole batch; this is a function of each number.

    Args:
        probability: In [0, 1), float32 `[b]`.
        alpha: More than 0.
    """
    low, high = tf.zeros_like(probability), tf.ones_like(probability)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = tf.math.betainc(alpha, alpha, middle) > probability
        low, high = tf.where(above, low, middle), tf.where(above, middle, high)
    return (low + high) / 2
