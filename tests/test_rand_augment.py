"""RandAugment: a function of an image and its numbers alone, of Keras's operations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.rand_augment import RandAugment

DRAWS = 6  # two operations


@pytest.fixture(scope="module")
def augment():
    augment = RandAugment(9.0)
    return augment, tf.function(augment)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (26, 12, 10, 3)).astype(np.uint8)
    return tf.constant(images), tf.constant(rng.random((26, DRAWS), dtype=np.float32))


def test_the_cut_of_the_batch_does_not_matter(augment, data):
    images, draws = data
    whole = augment[1](images, draws).numpy()
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    parts = [augment[1](images[a:b], draws[a:b]).numpy() for a, b in ((0, 1), (1, 12), (12, 26))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole != images.numpy()).any(axis=(1, 2, 3)).mean() > 0.8


def test_in_a_pipeline_as_outside(augment, data):
    images, draws = data
    dataset = tf.data.Dataset.from_tensors(data).map(augment[0])
    np.testing.assert_array_equal(next(iter(dataset)), augment[1](images, draws))


def test_every_operation_is_chosen_and_drawn(augment, data):
    """The first of the two operations runs through all of them, with several seeds each."""
    images, operations = data[0], augment[0].operations
    names, seeds = [type(o).__name__ for o in operations], 5
    draws = np.full((seeds, len(names), DRAWS), 0.3, np.float32)
    draws[..., 0] = (np.arange(len(names)) + 0.5) / len(names)
    draws[..., 1] = np.linspace(0.1, 0.9, seeds)[:, None]
    draws[..., 3] = (names.index("AutoContrast") + 0.5) / len(names)  # the second one
    same = np.repeat(images[:1].numpy(), seeds * len(names), 0)
    changed = augment[1](same, draws.reshape(-1, DRAWS)).numpy()
    changed = changed.reshape(seeds, len(names), *images.shape[1:])
    varied = {n for i, n in enumerate(names) if np.any(changed[:, i] != changed[0, i])}
    assert varied == set(names) - {"AutoContrast", "Equalization"}  # which draw nothing
    contrast = changed[0, names.index("AutoContrast")]
    assert all(
        np.any(changed[-1, i] != contrast) for i, n in enumerate(names) if n != "AutoContrast"
    )


def test_magnitude_zero_changes_little_and_floats_stay_floats(data):
    images, draws = data
    still = RandAugment(0.0)
    geometric = np.asarray(draws).copy()
    geometric[:, [0, 3]] = 0.1  # shear
    floats = tf.cast(images, tf.float32) / 255
    found = tf.function(still)(floats, tf.constant(geometric))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, floats, atol=1e-5)
