"""Networks that give one number."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from trainer.models import regressors

MEAN, SCALE = np.array([3000.0, -0.2]), np.array([800.0, 0.1])


@pytest.mark.parametrize(
    "network",
    [regressors.linear(2), regressors.mlp(2, widths=[5, 4], activation="sigmoid")],
    ids=["linear", "mlp"],
)
def test_in_units_standardises_what_comes_in_and_undoes_it_going_out(
    tmp_path: Path, network: keras.Model
) -> None:
    model = regressors.in_units(network, (MEAN, SCALE), (20.0, 7.0))
    raw = (MEAN + SCALE * np.random.default_rng(0).normal(size=(6, 2))).astype("float32")
    within = ((raw - MEAN) / SCALE).astype("float32")
    np.testing.assert_allclose(model(raw), 20 + 7 * np.asarray(network(within)), rtol=1e-5)
    assert {v.path for v in model.variables} == {v.path for v in network.variables}

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(raw), model(raw))


def test_a_subclassed_line_is_the_layers_line(tmp_path: Path) -> None:
    layers, line = regressors.linear(1), regressors.Line(name="line")
    x = np.linspace(-2, 2, 9, dtype="float32")[:, None]
    layers.set_weights([np.array([[3.0]]), np.array([2.0])])
    line.set_weights([np.array([3.0]), np.array([2.0])])
    np.testing.assert_array_equal(line(x), 3 * x + 2)
    np.testing.assert_array_equal(line(x), layers(x))

    line.save(tmp_path / "line.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "line.keras")(x), line(x))
