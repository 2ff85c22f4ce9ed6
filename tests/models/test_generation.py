"""Generated text: a function of the seed, and what a plain loop over the model gives."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.models import transformer
from trainer.models.generation import generator

WORDS, BLOCK = 11, 6


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(1)
    made = transformer.decoder(WORDS, block_size=BLOCK, layers=1, heads=2, width=8, dropout=0.1)
    made.set_weights([10 * w for w in made.get_weights()])  # else all tokens are equally likely
    return made


@pytest.mark.parametrize("start", [[3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_the_likeliest_is_what_a_plain_loop_gives(model: keras.Model, start: list[int]) -> None:
    """From fewer tokens than a block has, and from more; over its end."""
    text = list(start)
    for _ in range(9):
        seen = text[-BLOCK:]
        logits = model(np.array([seen + [0] * (BLOCK - len(seen))]))
        text.append(int(np.argmax(logits[0, len(seen) - 1])))
    made = generator(model, np.array(start), 9, 0.0)(0)
    assert made.tolist() == text


def test_a_sample_is_a_function_of_its_seed(model: keras.Model) -> None:
    keras.utils.set_random_seed(5)
    before = [v.numpy() for v in model.variables]
    one, other = (generator(model, np.array([1]), 40, 1.0) for _ in range(2))
    assert np.array_equal(one(7), other(7))
    assert np.array_equal(one(7), one(7))
    assert np.any(one(7) != one(8))
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array_equal(variable, value), f"{variable.path} has changed"


def test_each_token_is_drawn_from_its_own_distribution(model: keras.Model) -> None:
    """The second token's frequencies over many seeds, within four standard deviations."""
    sample = generator(model, np.array([4]), 1, 0.7)
    number = 2000
    counts = np.bincount([sample(seed)[1] for seed in range(number)], minlength=WORDS)
    logits = model(np.array([[4] + [0] * (BLOCK - 1)]))[0, 0] / 0.7
    chances = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    deviations = np.sqrt(number * chances * (1 - chances))
    assert np.all(np.abs(counts - number * chances) <= 4 * deviations + 1)


def test_it_follows_the_weights(model: keras.Model) -> None:
    """Compiled once, it still sees what training changes later."""
    sample = generator(model, np.array([1]), 12, 0.0)
    first, weights = sample(0), model.get_weights()
    model.set_weights([-w for w in weights])
    later = sample(0)
    model.set_weights(weights)
    assert np.any(first != later)
    assert np.array_equal(first, sample(0))
