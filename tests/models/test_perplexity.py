"""Perplexity against NumPy, over parts, and without the targets that are none."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.models.perplexity import Perplexity

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5, 7)).astype(np.float32)
TARGETS = RNG.integers(-1, 7, (6, 5))


def by_hand(counted: np.ndarray) -> float:
    chances = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    own = np.take_along_axis(chances, np.maximum(TARGETS, 0)[..., None], -1)[..., 0]
    return float(np.exp(np.average(-np.log(own), weights=counted)))


def test_it_is_that_of_all_targets_together() -> None:
    metric = Perplexity(ignore_class=-1)
    for start, stop in ((0, 1), (1, 5), (5, 6)):
        metric.update_state(TARGETS[start:stop], LOGITS[start:stop])
    assert float(metric.result()) == pytest.approx(by_hand(TARGETS >= 0), rel=1e-5)


def test_weights_count() -> None:
    metric, weights = Perplexity(ignore_class=-1), RNG.integers(0, 2, (6, 5))
    metric.update_state(TARGETS, LOGITS, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(by_hand((TARGETS >= 0) * weights), rel=1e-5)


def test_knowing_nothing_is_the_size_of_the_vocabulary() -> None:
    metric = Perplexity()
    metric.update_state(np.zeros((2, 3), int), np.zeros((2, 3, 9), np.float32))
    assert float(metric.result()) == pytest.approx(9.0)


def test_an_equal_one_is_made_from_its_config() -> None:
    metric = Perplexity(ignore_class=-1, name="other")
    made = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert isinstance(made, Perplexity)
    assert made.get_config() == metric.get_config()
