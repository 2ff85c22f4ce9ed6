"""A line whose slope and height are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support import ROOT, in_process
from trainer.source import DataInfo
from trainer.tasks.linear_regression import B, Options, Task, W

INFO = DataInfo(name="line", shapes={"x": (1,), "y": (1,)}, num_classes={})


def made(**options: Any) -> dict[str, dict[str, np.ndarray]]:
    make = Task(Options(**options)).source().make
    assert make is not None
    return {split: make(split) for split in ("train", "test")}


def test_without_noise_the_points_lie_on_the_line() -> None:
    for points in made(noise=0.0, examples=20).values():
        np.testing.assert_allclose(points["y"], W * points["x"] + B, atol=1e-6)


def test_the_noise_is_as_strong_as_said_and_the_splits_differ() -> None:
    splits = made(noise=0.5, examples=10000)
    for points in splits.values():
        assert abs(np.std(points["y"] - W * points["x"] - B) - 0.5) < 0.02
    assert (splits["train"]["x"] != splits["test"]["x"]).all()


@pytest.mark.parametrize("model", ["layers", "subclassed"])
def test_what_is_shown_is_what_the_model_computes(model: str) -> None:
    task = Task(Options(model=model))
    line = task.model(INFO)
    for variable, value in zip(line.weights, (1.5, -4.0), strict=True):
        variable.assign(np.full(variable.shape, value))
    numbers = task.show(line, seed=0).numbers
    assert numbers == {"w": 1.5, "b": -4.0} and tuple(numbers) == task.shown_numbers
    assert np.asarray(line(np.array([[2.0]], np.float32))).item() == -1.0


@pytest.mark.parametrize("model", ["layers", "subclassed"])
def test_both_models_find_the_line(tmp_path_factory: pytest.TempPathFactory, model: str) -> None:
    flags = [
        f"--flagfile={ROOT}/configs/linear_regression.flags", f"--model={model}",
        f"--workdir={tmp_path_factory.mktemp('run')}",
    ]  # fmt: skip
    final = in_process("tests.tasks.test_linear_regression:final", flags)
    assert abs(final["w"] - W) < 0.02 and abs(final["b"] - B) < 0.02, final


def final(flags: list[str]) -> dict[str, float]:
    """The last epoch's metrics."""
    import trainer
    from trainer.flagfile import parse

    return trainer.train(parse(flags)).final
