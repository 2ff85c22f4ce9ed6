"""Forecasters are the formulas of their paper."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from trainer.models import forecasters

LOOK_BACK, HORIZON, CHANNELS = 30, 4, 3
MADE = {
    "nlinear": lambda: forecasters.nlinear(LOOK_BACK, HORIZON, CHANNELS),
    "dlinear": lambda: forecasters.dlinear(LOOK_BACK, HORIZON, CHANNELS, window=5),
    "lstm": lambda: forecasters.lstm(LOOK_BACK, HORIZON, CHANNELS, units=6),
}


def past(number: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, LOOK_BACK, CHANNELS)).astype("float32")


def randomized(model: keras.Model) -> dict[str, np.ndarray]:
    """New weights, biases too, by layer and name."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.3, size=weight.shape))
    return {weight.path: weight.numpy() for weight in model.weights}


def test_nlinear_is_linear_in_differences_to_the_last_value() -> None:
    model, x = MADE["nlinear"](), past()
    w = randomized(model)
    last = x[:, -1:]
    expected = np.einsum("btc,th->bhc", x - last, w["linear/kernel"])
    expected += w["linear/bias"][:, None] + last
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


def test_dlinear_is_linear_in_the_moving_average_and_in_the_rest() -> None:
    model, x = MADE["dlinear"](), past()
    w = randomized(model)
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0)), mode="edge")
    trend = np.stack([padded[:, t : t + 5].mean(1) for t in range(LOOK_BACK)], axis=1)
    expected = np.einsum("btc,th->bhc", x - trend, w["seasonal/kernel"])
    expected += np.einsum("btc,th->bhc", trend, w["trend/kernel"])
    expected += (w["seasonal/bias"] + w["trend/bias"])[:, None]
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["nlinear", "lstm"])
def test_a_shift_of_the_past_shifts_the_forecast(name: str) -> None:
    model, x = MADE[name](), past()
    shift = np.array([10.0, -3.0, 0.5], np.float32)
    np.testing.assert_allclose(model(x + shift), model(x) + shift, atol=1e-4)


@pytest.mark.parametrize("name", list(MADE))
def test_a_saved_forecaster_comes_back(tmp_path: Path, name: str) -> None:
    model, x = MADE[name](), past()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert model(x).shape == (2, HORIZON, CHANNELS)
    np.testing.assert_array_equal(again(x), model(x))
