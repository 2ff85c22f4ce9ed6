"""What a task shows joins the logs, the record, the pictures and TensorBoard, in both loops."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

SHOWN = {"modes_covered", "high_quality", "bias"}
ENDS = (6, 12, 18)  # of the epochs


def test_numbers_join_the_logs(told: Any) -> None:
    tape, fit = (told("shown")[loop]["run"] for loop in ("tape", "fit"))
    for name in SHOWN:
        assert len(tape["history"][name]) == 3
        assert tape["history"][name] == fit["history"][name]
    # after the evaluation, with the weights that the epoch ended with
    assert tape["final"]["bias"] == tape["history"]["bias"][-1]
    assert all((a == b).all() for a, b in zip(tape["weights"], fit["weights"], strict=True))


@pytest.mark.parametrize("name", ["tape", "fit"])
def test_the_record_has_them_and_the_best_is_chosen_by_them(told: Any, name: str) -> None:
    record = told("shown")[name]["record"]
    covered = told("shown")[name]["run"]["history"]["modes_covered"]
    assert record["final"].keys() > SHOWN
    assert record["best"]["modes_covered"] == max(covered)
    assert record["best"]["epoch"] == covered.index(max(covered)) + 1


@pytest.mark.parametrize("name", ["tape", "fit", "averaged"])
def test_pictures_are_written_after_each_epoch(told: Any, name: str) -> None:
    pictures = told("shown")[name]["pictures"]
    assert list(pictures) == [f"samples-{step:08d}.png" for step in ENDS]
    for content in pictures.values():
        assert tf.io.decode_png(content).shape == (256, 256, 1)
    assert [step for step, _ in told("shown")[name]["events"]["samples"]["samples"]] == list(ENDS)


def test_pictures_are_the_same_in_both_loops(told: Any) -> None:
    assert told("shown")["tape"]["pictures"] == told("shown")["fit"]["pictures"]


@pytest.mark.parametrize("name", ["tape", "fit"])
def test_text_goes_to_tensorboard_and_into_the_result(told: Any, name: str) -> None:
    run, found = told("shown")[name]["run"], told("shown")[name]["events"]["samples"]["bias"]
    assert run["text"] == {"bias": f"It is\n{run['final']['bias']}."}
    biases = run["history"]["bias"]
    assert found == [
        (step, f"    It is\n    {bias}.") for step, bias in zip(ENDS, biases, strict=True)
    ]


@pytest.mark.parametrize("name", ["tape", "fit"])
def test_numbers_are_curves_at_each_epochs_end(told: Any, name: str) -> None:
    run, curves = told("shown")[name]["run"], told("shown")[name]["events"]["train"]
    for shown in SHOWN:
        steps, values = zip(*curves[f"epoch/{shown}"], strict=True)
        assert steps == ENDS
        assert values == pytest.approx(run["history"][shown])
        assert f"batch/{shown}" not in curves


@pytest.mark.parametrize("what", ["run", "pictures"])
def test_a_run_that_is_cut_off_shows_what_a_whole_one_does(told: Any, what: str) -> None:
    whole, cut = (told("shown")[name][what] for name in ("tape", "cut"))
    if what == "run":
        for one, other in zip(whole.pop("weights"), cut.pop("weights"), strict=True):
            assert one.tobytes() == other.tobytes()
    assert cut == whole


def test_a_run_that_ended_says_the_same_again(told: Any) -> None:
    cut, again = (told("shown")[name]["run"] for name in ("cut", "again"))
    for name in ("text", "final", "best", "history", "step"):
        assert again[name] == cut[name]


def test_averaged_weights_are_shown_without_an_evaluation(told: Any) -> None:
    """The run ends with them: the last number shown is of the very weights that it gives."""
    run = told("shown")["averaged"]["run"]
    assert not any(name.startswith("val_") for name in run["history"])
    generator_bias = next(w for w in run["weights"] if w.shape == (2,))
    assert run["final"]["bias"] == float(generator_bias[0])


def test_early_stopping_knows_the_direction_of_a_shown_number(told: Any) -> None:
    """Nothing is learned, so no epoch is better than the first."""
    run = told("shown")["stopped"]["run"]
    assert run["stop_training"] and run["step"] == 12


def test_a_changed_rate_of_one_objective_is_heeded(told: Any) -> None:
    assert told("shown")["again"]["run"]["learning_rates"] == pytest.approx([0.01, 0.01])
    assert told("shown")["other rate"]["run"]["learning_rates"] == pytest.approx([0.01, 0.02])
