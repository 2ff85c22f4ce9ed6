"""The transformer sees what it may, adds up the gradients of its tied matrix, and saves whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support import environment
from trainer.models import transformer
from trainer.remat import rematerialize

WORDS, BLOCK = 11, 10
RNG = np.random.default_rng(0)


def small(dropout: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = transformer.decoder(
        WORDS, block_size=BLOCK, layers=2, heads=2, width=8, dropout=dropout
    )
    # far from the small initial values, at which attention is nearly uniform
    model.set_weights([w + RNG.normal(size=w.shape, scale=0.3) for w in model.get_weights()])
    return model


def words(*shape: int) -> np.ndarray:
    return RNG.integers(1, WORDS, shape).astype(np.int32)


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def test_nothing_sees_what_follows() -> None:
    model, text = small(), words(1, BLOCK)
    before = model(text).numpy()
    for place in range(BLOCK):
        changed = text.copy()
        changed[0, place] = text[0, place] % (WORDS - 1) + 1
        after = model(changed).numpy()
        assert np.array_equal(after[0, :place], before[0, :place])
        assert np.any(after[0, place] != before[0, place])


def test_a_document_gets_the_same_logits_in_a_pack_as_alone() -> None:
    """To rounding: sums over more masked elements."""
    model, first, second = small(), words(4), words(5)
    packed = model(np.concatenate([first, [0], second])[None]).numpy()[0]
    for document, place in ((first, 0), (np.concatenate([[0], second]), 4)):
        alone = np.zeros(BLOCK, np.int32)
        alone[: len(document)] = document
        logits = model(alone[None]).numpy()[0, : len(document)]
        np.testing.assert_allclose(packed[place : place + len(document)], logits, atol=2e-6)


def test_gradients_of_the_tied_matrix_add_up() -> None:
    """Against a difference quotient: each of its two uses alone would be far off."""
    model, text, target = small(), words(3, BLOCK), words(3, BLOCK)
    (matrix,) = (v for v in model.trainable_variables if v.path == "embedding/embeddings")

    def loss() -> tf.Tensor:
        return tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(target, model(text), from_logits=True)
        )

    with tf.GradientTape() as tape:
        value = loss()
    gradient = tf.convert_to_tensor(tape.gradient(value, matrix.value)).numpy()
    step = 1e-2 * RNG.normal(size=matrix.shape).astype(np.float32)
    start = matrix.numpy()
    around = []
    for sign in (1, -1):
        matrix.assign(start + sign * step)
        around.append(float(loss()))
    assert np.sum(gradient * step) == pytest.approx((around[0] - around[1]) / 2, rel=1e-2)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputed_blocks_have_the_same_gradients(dropout: float) -> None:
    gradients = []
    model, text = small(dropout), words(3, BLOCK)
    seeds = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    kept = [v.numpy() for v in seeds]
    for remat in (False, True):
        if remat:
            rematerialize(model)
            for seed, value in zip(seeds, kept, strict=True):
                seed.assign(value)

        @tf.function
        def gradient() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(text, training=True) ** 2)
            found = tape.gradient(loss, [v.value for v in model.trainable_variables])
            return [tf.convert_to_tensor(g) for g in found]

        gradients.append([g.numpy() for g in gradient()])
    for plain, recomputed in zip(*gradients, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_masks_do_not_overflow_half_floats(policy: str, dropout: float) -> None:
    """Also where a token sees nothing but itself; with dropout Keras masks in another way."""
    model = small(dropout)
    text = words(2, BLOCK)
    text[0] = transformer.SEPARATOR
    with tf.GradientTape() as tape:
        logits = model(text, training=True)
        loss = tf.reduce_sum(tf.nn.softmax(logits) ** 2)
    assert logits.dtype == tf.float32
    assert np.all(np.isfinite(logits))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(np.all(np.isfinite(tf.convert_to_tensor(g))) for g in gradients)


def test_a_saved_model_loads_without_this_project(tmp_path: Path) -> None:
    model, text = small(0.1), words(2, BLOCK)
    path, data = tmp_path / "model.keras", tmp_path / "data.npz"
    model.save(path)
    np.savez(data, text=text, logits=model(text).numpy())
    program = (
        "import sys, keras, numpy as np; data = np.load(sys.argv[2])\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "assert np.array_equal(model(data['text']).numpy(), data['logits'])\n"
        "assert not any(name.startswith('trainer') for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(data)],
        env=environment(PYTHONPATH=""),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
