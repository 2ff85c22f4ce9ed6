"""The event files, read back."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.flagfile import parse

EVERYWHERE = {"loop/learning_rate", "loop/examples_per_second", "loop/step_seconds"}
TAPE = {"loop/grad_norm", "loop/skipped", "loop/input_wait_share"}


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_scalars_are_written(told: Any, loop: str) -> None:
    train, validation = (told("recorded")[loop]["events"][d] for d in ("train", "validation"))
    wanted = EVERYWHERE | (TAPE if loop == "tape" else set())
    assert wanted | {"batch/loss", "batch/accuracy", "epoch/loss", "epoch/accuracy"} <= set(train)
    assert set(validation) == {"epoch/loss", "epoch/accuracy"}


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_the_step_is_the_axis(told: Any, loop: str) -> None:
    """Every second step of 18, over two starts; each point once."""
    train, validation = (told("recorded")[loop]["events"][d] for d in ("train", "validation"))
    for tag, points in train.items():
        if tag.startswith(("batch/", "loop/")):
            assert [step for step, _ in points] == list(range(2, 19, 2)), tag
    for points in (train["epoch/loss"], validation["epoch/loss"]):
        assert [step for step, _ in points] == [6, 12, 18]


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_both_splits_have_the_histories_values(told: Any, loop: str) -> None:
    one = told("recorded")[loop]
    for folder, prefix in (("train", ""), ("validation", "val_")):
        for name in ("loss", "accuracy"):
            written = [value for _, value in one["events"][folder][f"epoch/{name}"]]
            assert written == pytest.approx(one["run"]["history"][prefix + name], rel=1e-6)


def test_what_the_loop_measures_makes_sense(told: Any) -> None:
    train = told("recorded")["tape"]["events"]["train"]
    values = {tag: [v for _, v in points] for tag, points in train.items()}
    assert values["loop/learning_rate"] == pytest.approx([0.05] * 9)
    assert all(value > 0 for value in values["loop/grad_norm"])
    assert values["loop/skipped"] == [0.0] * 9
    assert all(0 <= value <= 1 for value in values["loop/input_wait_share"])
    rates = zip(values["loop/examples_per_second"], values["loop/step_seconds"], strict=True)
    assert all(per_second * seconds == pytest.approx(8) for per_second, seconds in rates)


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_the_configuration_is_there_as_text_and_hyperparameters(told: Any, loop: str) -> None:
    one = told("recorded")[loop]
    train = one["events"]["train"]
    _, text = train["config"][-1]
    lines = [line.strip() for line in text.splitlines()]
    assert parse([line for line in lines if not line.startswith("#")]) == parse(
        [line for line in one["flags"].splitlines() if not line.startswith("#")]
    )
    assert "_hparams_/session_start_info" in train
