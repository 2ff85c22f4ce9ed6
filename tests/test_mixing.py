"""MixUp and CutMix against Keras's arithmetic, and their distributions against SciPy's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from trainer import mixing

B, H, W, CLASSES = 32, 8, 12, 5


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = rng.random((B, H, W, 3), dtype=np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, B)]
    draws = rng.random((B, 4), dtype=np.float32)
    return x, y, draws


def mixed(x, y, draws, mixup, cutmix):
    own = tf.constant(x), tf.constant(y)
    following = tf.constant(np.roll(x, -1, 0)), tf.constant(np.roll(y, -1, 0))
    found = mixing.mixed(own, following, tf.constant(draws), mixup, cutmix)
    return [part.numpy() for part in found]


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 4.0])
def test_quantiles_of_the_beta_distribution(alpha):
    probability = np.linspace(0, 1, 1001, dtype=np.float32)[:-1]
    found = mixing.beta_quantile(tf.constant(probability), alpha).numpy()
    # where the density is small a small change of the quantile is a smaller one of probability
    again = scipy.stats.beta(alpha, alpha).cdf(found.astype(float))
    np.testing.assert_allclose(found, scipy.stats.beta(alpha, alpha).ppf(probability), atol=3e-3)
    np.testing.assert_allclose(again, probability, atol=0.05 if alpha < 0.5 else 2e-3)


def test_mixup_is_keras_arithmetic(batch):
    x, y, draws = batch
    transformation = {
        "mix_weight": mixing.beta_quantile(draws[:, 1], 0.4),
        "permutation_order": np.roll(np.arange(B), -1),
    }
    layer = keras.layers.MixUp()
    images, labels = mixed(x, y, draws, 0.4, 0.0)
    np.testing.assert_allclose(images, layer.transform_images(x, transformation), atol=1e-6)
    np.testing.assert_allclose(labels, layer.transform_labels(y, transformation), atol=1e-6)


def test_cutmix_is_keras_arithmetic(batch):
    x, y, draws = batch
    share = mixing.beta_quantile(draws[:, 1], 1.0)
    box = mixing.boxes(share, draws[:, 2], draws[:, 3], H, W)
    transformation = {
        "mix_weight": 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), [1, 2, 3]),
        "permutation_order": np.roll(np.arange(B), -1),
        "batch_masks": box,
    }
    layer = keras.layers.CutMix()
    images, labels = mixed(x, y, draws, 0.0, 1.0)
    np.testing.assert_allclose(images, layer.transform_images(x, transformation), atol=1e-6)
    np.testing.assert_allclose(labels, layer.transform_labels(y, transformation), atol=1e-6)


def test_boxes_are_rectangles_of_the_size_asked_for():
    rng = np.random.default_rng(1)
    share, y, x = rng.random((3, 2000), dtype=np.float32)
    found = mixing.boxes(share, y, x, 40, 40).numpy()[..., 0]
    rows, columns = found.any(2), found.any(1)
    np.testing.assert_array_equal(found, rows[:, :, None] & columns[:, None, :])
    inside = (y > 0.5 - share / 4) & (y < 0.5) & (x > 0.5 - share / 4) & (x < 0.5)
    side = np.floor(40 * np.sqrt(1 - share))
    np.testing.assert_allclose(rows[inside].sum(1), side[inside], atol=1)
    np.testing.assert_allclose(columns[inside].sum(1), side[inside], atol=1)


def test_both_take_turns(batch):
    x, y, draws = batch
    images, labels = mixed(x, y, draws, 0.4, 1.0)
    for used, alphas in ((draws[:, 0] < 0.5, (0.4, 0.0)), (draws[:, 0] >= 0.5, (0.0, 1.0))):
        alone = mixed(x, y, draws, *alphas)
        np.testing.assert_array_equal(images[used], alone[0][used])
        np.testing.assert_array_equal(labels[used], alone[1][used])
    np.testing.assert_allclose(labels.sum(1), 1.0, atol=1e-6)
