"""ResNets for small images against what the paper says of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.models.resnet import resnet
from trainer.remat import rematerialize


def make(depth: int, width: int = 16, l2: float = 0.0) -> keras.Model:
    return resnet((32, 32, 3), 10, depth=depth, width=width, dropout=0.0, l2=l2)


def blocks_of(model: keras.Model) -> list[keras.Model]:
    return [layer for layer in model.layers if isinstance(layer, keras.Model)]


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (56, 0.85)])
def test_layers_and_weights_are_as_many_as_in_the_paper(depth, millions):
    """Table 6. Its layers are the convolutions and the last one; option A adds no weight."""
    model = make(depth)
    weighted = (keras.layers.Conv2D, keras.layers.Dense)
    assert sum(isinstance(layer, weighted) for layer in model._flatten_layers()) == depth
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == pytest.approx(
        millions * 1e6, abs=6e3
    )
    assert len(blocks_of(model)) == (depth - 2) // 2
    assert [b.output.shape[1:] for b in blocks_of(model)[:: (depth - 2) // 6]] == [
        (32, 32, 16), (16, 16, 32), (8, 8, 64)
    ]  # fmt: skip


def test_a_shortcut_takes_every_other_pixel_and_zeros():
    block = blocks_of(make(8))[1]
    block.get_layer("b_norm").gamma.assign(tf.zeros(32))  # the residual is 0
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 16)).astype(np.float32)
    expected = np.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(8, 8)])
    np.testing.assert_array_equal(block(x), np.maximum(expected, 0))


def test_convolutions_of_a_stride_are_centred_on_the_shortcuts_pixels():
    block = blocks_of(make(8))[1]
    kernel = np.zeros((3, 3, 16, 32), np.float32)
    kernel[1, 1, 0, 0] = 1.0
    block.get_layer("a").kernel.assign(kernel)
    inner = keras.Model(block.input, block.get_layer("a").output)
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 16)).astype(np.float32)
    np.testing.assert_array_equal(inner(x)[..., 0], x[:, ::2, ::2, 0])


def test_a_saved_one_loads_to_the_same_outputs(tmp_path):
    model = make(8, width=4)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


def test_recomputed_blocks_give_the_same_gradients():
    plain, recomputed = make(8, width=4, l2=0.01), make(8, width=4, l2=0.01)
    recomputed.set_weights(plain.get_weights())
    rematerialize(recomputed)
    x = tf.constant(np.random.default_rng(0).random((4, 32, 32, 3), dtype=np.float32))

    def gradients(model):
        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(x, training=True)[:, 0]) + tf.add_n(model.losses)
            return tape.gradient(loss, [v.value for v in model.trainable_variables])

        return step()

    for ours, theirs in zip(gradients(recomputed), gradients(plain), strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(theirs))))
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)
    assert all(
        np.allclose(a, b, atol=1e-6)
        for a, b in zip(recomputed.get_weights(), plain.get_weights(), strict=True)
    )  # the moving statistics moved once
