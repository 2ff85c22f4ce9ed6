"""Keras's callbacks do in the tape loop what they do in `model.fit()`, to files, logs and weights.

Splits divide evenly here, so that both loops give the same weights to the bit; logs are summed in
float32 by Keras and in float64 by the tape loop, and agree to float32's rounding.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

ROUNDING = 2e-6

# Where each public callback is put through both loops.
COVERED = {
    "BackupAndRestore": "observers",
    "CSVLogger": "observers",
    "Callback": "observers",
    "CallbackList": "observers",
    "EarlyStopping": "plateau",
    "History": "observers",
    "LambdaCallback": "observers",
    "LearningRateScheduler": "observers",
    "ModelCheckpoint": "observers",
    "OrbaxCheckpoint": "",  # needs orbax-checkpoint, which needs JAX; neither is a dependency
    "ProgbarLogger": "observers",
    "ReduceLROnPlateau": "plateau",
    "RemoteMonitor": "observers",
    "SwapEMAWeights": "averaged",
    "TensorBoard": "observers",
    "TerminateOnNaN": "stopped_within_an_epoch",
}


def assert_same(one: Any, other: Any, rounding: float = 0.0) -> None:
    """Nested lists, dicts, numbers and arrays that agree: to the bit without a rounding."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key], rounding)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, rounding)
    elif isinstance(one, (float, np.ndarray, np.floating)):
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding)
    else:
        assert one == other


def test_every_public_callback_is_covered() -> None:
    assert set(COVERED) == {name for name in dir(keras.callbacks) if not name.startswith("_")}


# --- callbacks that look: hooks, logs, files ---


def test_hooks_are_called_as_often_with_the_same_arguments_and_logs(told: Any) -> None:
    tape, fit = (told("observers")[loop]["starts"] for loop in ("tape", "fit"))
    for own, theirs in zip(tape, fit, strict=True):
        assert [c[:2] for c in own["calls"]] == [c[:2] for c in theirs["calls"]]
        assert_same(own["calls"], theirs["calls"], ROUNDING)
        assert own["params"] == theirs["params"]


def test_a_call_of_several_steps_counts_as_one_batch(told: Any) -> None:
    calls = [call[:2] for call in told("observers")["tape"]["starts"][0]["calls"]]
    one_epoch = [("on_epoch_begin", [0])]
    for first in (0, 2, 4):
        one_epoch += [("on_train_batch_begin", [first]), ("on_train_batch_end", [first + 1])]
    one_epoch += [("on_test_begin", [])]
    for first in (0, 2):
        one_epoch += [("on_test_batch_begin", [first]), ("on_test_batch_end", [first + 1])]
    one_epoch += [("on_test_end", []), ("on_epoch_end", [0])]
    assert calls[: len(one_epoch) + 1] == [("on_train_begin", []), *one_epoch]


def test_weights_are_equal_to_the_bit(told: Any) -> None:
    tape, fit = (told("observers")[loop]["starts"] for loop in ("tape", "fit"))
    for own, theirs in zip(tape, fit, strict=True):
        assert_same(own["weights"], theirs["weights"])
        assert_same(own["history"], theirs["history"], ROUNDING)
        assert own["learning_rate"] == theirs["learning_rate"]


def test_files_are_equal(told: Any) -> None:
    tape, fit = (told("observers")[loop] for loop in ("tape", "fit"))
    assert_same(tape["models"], fit["models"])
    assert_same(tape["weights"], fit["weights"])
    assert tape["backup"] == fit["backup"]
    assert tape["lambda"] == fit["lambda"]
    assert [sorted(row) for row in tape["csv"]] == [sorted(row) for row in fit["csv"]]
    for own, theirs in zip(tape["csv"], fit["csv"], strict=True):
        assert {k: float(v) for k, v in own.items()} == pytest.approx(
            {k: float(v) for k, v in theirs.items()}, rel=ROUNDING
        )


def test_the_files_are_those_that_were_asked_for(told: Any) -> None:
    tape = told("observers")["tape"]
    models = [name for name in tape["models"] if name.startswith("model-")]
    assert [name.split("-")[1] for name in models] == ["1", "2", "3"]
    by_batch = [name for name in tape["models"] if not name.startswith("model-")]
    # every 4 steps of 6 an epoch, where calls of 2 end: steps 4, 8, 12, 16
    assert by_batch == ["1-4.keras", "2-2.keras", "2-6.keras", "3-4.keras"]
    assert {"1.weights.h5", "2.weights.h5", "3.weights.h5", "best-1.weights.h5"} < set(
        tape["weights"]
    )
    assert tape["backup"] == {"epoch": 3, "batch": 0}
    rates = [float(row["learning_rate"]) for row in tape["csv"]]
    assert rates == pytest.approx([0.05, 0.025, 0.00625])
    assert [float(row["epoch"]) for row in tape["csv"]] == [0, 1, 2]


def test_tensorboard_writes_the_same_curves(told: Any) -> None:
    tape, fit = (told("observers")[loop]["tensorboard"] for loop in ("tape", "fit"))
    for folder in ("train", "validation"):
        assert sorted(tape[folder]) == sorted(fit[folder])
        for tag, points in tape[folder].items():
            if "steps_per_second" not in tag:
                assert_same(points, fit[folder][tag], ROUNDING)
    assert {"epoch_loss", "epoch_learning_rate", "batch_loss"} < set(tape["train"])
    assert {"epoch_accuracy", "evaluation_loss_vs_iterations"} < set(tape["validation"])


def test_the_remote_monitor_hears_of_each_epoch(told: Any) -> None:
    tape, fit = (told("observers")[loop]["posted"] for loop in ("tape", "fit"))
    assert_same(tape, fit, ROUNDING)
    assert [(path, data["epoch"]) for path, data in tape] == [
        ("/publish/epoch/end/", epoch) for epoch in range(3)
    ]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(tape[0][1])


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_memory_outlives_a_restart(told: Any, loop: str) -> None:
    first, second = told("observers")[loop]["starts"]
    assert (first["epochs"], second["epochs"]) == ([0, 1], [0, 1, 2])
    assert second["history"]["loss"][:2] == first["history"]["loss"]
    assert (first["diary"]["batches"], second["diary"]["batches"]) == (6, 9)
    losses = second["history"]["loss"]
    assert second["diary"]["losses"] == {f"epoch {i}": np.float32(losses[i]) for i in range(3)}


def test_tensorboards_batches_count_on_after_a_restart(told: Any) -> None:
    for loop in ("tape", "fit"):
        steps = [step for step, _ in told("observers")[loop]["tensorboard"]["train"]["batch_loss"]]
        assert steps == list(range(1, 10))


# --- callbacks that change the training ---


def test_early_stopping_and_plateau_agree(told: Any) -> None:
    tape, fit = (told("plateau")[loop] for loop in ("tape", "fit"))
    assert_same(tape["first"], fit["first"], ROUNDING)
    assert_same(tape["first"]["weights"], fit["first"]["weights"])
    run = tape["first"]
    epochs = len(run["history"]["loss"])
    stopping, plateau = run["memory"]
    assert run["stop_training"] and epochs < 30
    assert stopping["stopped_epoch"] == epochs - 1
    assert stopping["best_epoch"] == int(np.argmin(run["history"]["val_loss"])) < epochs - 1
    assert_same(run["weights"], stopping["best_weights"])
    assert run["learning_rate"] < 0.2 and plateau["best"] is not None


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_an_early_stopped_run_does_not_go_on(told: Any, loop: str) -> None:
    first, again = told("plateau")[loop]["first"], told("plateau")[loop]["again"]
    for name in ("step", "final", "history", "weights", "learning_rate"):
        assert_same(again[name], first[name])
    assert_same(again["memory"], first["memory"])


def test_a_metrics_direction_is_known_in_both_loops(told: Any) -> None:
    tape, fit = (told("by_accuracy")[loop] for loop in ("tape", "fit"))
    assert_same(tape, fit, ROUNDING)
    accuracies = tape["history"]["val_accuracy"]
    assert tape["memory"][0]["best"] == max(accuracies)
    assert len(accuracies) < 30 and accuracies[-1] <= max(accuracies)


@pytest.mark.parametrize("scenario", ["averaged", "averaged_on_epochs"])
def test_averaged_weights_are_swapped_alike(told: Any, scenario: str) -> None:
    tape, fit = (told(scenario)[loop] for loop in ("tape", "fit"))
    assert_same(tape["kept"], fit["kept"])
    assert_same(tape["weights"], fit["weights"])
    assert_same(tape["history"], fit["history"], ROUNDING)
    for loop in ("tape", "fit"):
        if f"{loop}, again" not in told(scenario):
            continue
        flag, again = (told(scenario)[f"{loop}, {way}"] for way in ("by flag", "again"))
        # swapping by adding and subtracting changes the weights by rounding
        assert_same(tape["history"], flag["history"], 1e-5)
        assert_same(tape["weights"], flag["weights"], 1e-5)
        # a finished run started again gives the averages too
        assert_same(again["weights"], flag["weights"])


@pytest.mark.parametrize("what", ["weights", "history", "step", "learning_rate", "models"])
def test_a_run_that_is_cut_off_gives_what_a_whole_one_does(told: Any, what: str) -> None:
    """To the bit, with callbacks that set the rate, swap the weights or restore a backup."""
    whole, cut = (told("interrupted")[name] for name in ("whole", "cut"))
    assert cut["cut_at"] == [8, 12, 18]  # within an epoch, in its evaluation, at its end
    assert_same(cut[what], whole[what])


def test_callbacks_remember_through_cuts(told: Any) -> None:
    whole, cut = (told("interrupted")[name] for name in ("whole", "cut"))
    assert_same(cut["memory"], whole["memory"])
    assert cut["diary"]["batches"] == whole["diary"]["batches"] == 12
    assert_same(cut["diary"]["losses"], whole["diary"]["losses"])


@pytest.mark.parametrize("cause", ["nan", "own"])
def test_training_stops_within_an_epoch(told: Any, cause: str) -> None:
    if cause not in told("stopped_within_an_epoch"):
        pytest.skip("left to one replica count, for time")
    starts = told("stopped_within_an_epoch")[cause]
    for own, theirs in zip(starts["tape"], starts["fit"], strict=True):
        assert [c[:2] for c in own["calls"]] == [c[:2] for c in theirs["calls"]]
        assert_same(own["weights"], theirs["weights"])
        assert own["step"] == theirs["step"]
    first, again = starts["tape"]
    assert first["stop_training"] and first["step"] == {"nan": 2, "own": 10}[cause]
    hooks = [call[0] for call in first["calls"]]
    assert hooks[-3:] == ["on_test_end", "on_epoch_end", "on_train_end"]
    # the same command again finds the run ended
    assert [call[0] for call in again["calls"]] == ["on_train_begin", "on_train_end"]
    assert_same(again["weights"], first["weights"])
