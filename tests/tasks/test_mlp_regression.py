"""A made function of two numbers."""

from __future__ import annotations

import numpy as np

from trainer.source import DataInfo
from trainer.tasks.mlp_regression import Options, Task


def test_without_noise_the_points_are_the_function() -> None:
    make = Task(Options(noise=0.0, examples=50)).source().make
    assert make is not None
    for split in ("train", "test"):
        points = make(split)
        x, y = points["x"], points["y"]
        np.testing.assert_allclose(y[:, 0], np.sin(3 * x[:, 0]) + x[:, 1] ** 2, atol=1e-6)


def test_the_network_is_two_layers_the_first_of_sigmoids() -> None:
    info = DataInfo(name="made", shapes={"x": (2,), "y": (1,)}, num_classes={})
    model = Task(Options(width=3)).model(info)
    rng = np.random.default_rng(0)
    w1, b1, w2, b2 = (rng.normal(size=v.shape).astype("float32") for v in model.weights)
    model.set_weights([w1, b1, w2, b2])
    x = rng.normal(size=(4, 2)).astype("float32")
    expected = 1 / (1 + np.exp(-(x @ w1 + b1))) @ w2 + b2
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)
