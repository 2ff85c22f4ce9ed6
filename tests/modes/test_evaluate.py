"""An evaluation later on gives what training measured; it disturbs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.modes.worker import REFUSED
from tests.support import trainer_main
from tests.test_main import assert_refused
from trainer.errors import BAD_INPUT, OK


def test_each_checkpoint_gives_the_metrics_of_training_to_the_bit(told: Any) -> None:
    assert len(told["manifests"]) == 3
    for name, manifest in told["manifests"].items():
        evaluated = told["evaluated"][name]
        trained = {n: v for n, v in manifest["metrics"].items() if n.startswith("val_")}
        assert {f"val_{n}": v for n, v in evaluated["metrics"].items()} == trained
        assert evaluated["step"] == manifest["step"] and evaluated["averaged"]
        assert (evaluated["examples"], evaluated["replicas"]) == (32, 2)
    assert len({m["metrics"]["val_loss"] for m in told["manifests"].values()}) == 3


def test_auto_is_the_best(told: Any) -> None:
    losses = {n: m["metrics"]["val_loss"] for n, m in told["manifests"].items()}
    best, latest = min(losses, key=losses.__getitem__), max(losses)
    assert told["evaluated"]["auto"] == told["evaluated"]["best"] == told["evaluated"][best]
    assert told["evaluated"]["latest"] == told["evaluated"][latest]
    assert told["evaluated"]["best"]["name"] == f"{best}, the best (val_loss)"


def test_a_damaged_best_is_passed_over_for_the_next(told: Any) -> None:
    losses = {n: m["metrics"]["val_loss"] for n, m in told["manifests"].items()}
    _, second, _ = sorted(losses, key=losses.__getitem__)
    assert told["passed over"]["name"] == second  # and does not claim to be the best
    assert told["passed over"]["metrics"] == told["evaluated"][second]["metrics"]


def test_the_averages_are_evaluated_unless_told_otherwise(told: Any) -> None:
    assert told["raw"]["loss"] != told["evaluated"]["auto"]["metrics"]["loss"]


def test_another_batch_size_changes_no_more_than_rounding(told: Any) -> None:
    """float32 sums of 32 examples in another order."""
    for name, value in told["evaluated"]["auto"]["metrics"].items():
        assert told["small batches"][name] == pytest.approx(value, rel=1e-6)


def test_another_number_of_replicas_changes_no_more_than_rounding(folder: Path, told: Any) -> None:
    """From the command line, in a process of its own, into another workdir."""
    done = trainer_main(
        "--flagfile=run/config.flags", "--mode=evaluate", "--num_logical_devices=1",
        f"--checkpoint=run/checkpoints/{Path(told['evaluated']['auto']['checkpoint']).name}",
        "--workdir=elsewhere", cwd=folder,
    )  # fmt: skip
    assert done.returncode == OK, done.stderr
    record = json.loads((folder / "elsewhere" / "evaluation-test.json").read_text())
    assert record["replicas"] == 1
    for name, value in told["evaluated"]["auto"]["metrics"].items():
        assert record["metrics"][name] == pytest.approx(value, rel=1e-6)


def test_a_run_that_goes_on_is_not_disturbed(told: Any) -> None:
    """Its lock was held meanwhile; one file came."""
    assert told["command"]["code"] == OK, told["command"]
    assert told["changed"] == ["run/evaluation-test.json"]


def test_the_record_says_what_was_evaluated(folder: Path, told: Any) -> None:
    record = json.loads((folder / "run" / "evaluation-test.json").read_text())
    assert {n: record[n] for n in told["evaluated"]["auto"]} == told["evaluated"]["auto"]
    run = json.loads((folder / "run" / "run.json").read_text())
    assert record["data"]["sha256"] == run["data"]["sha256"]["validation"]
    for word in (*record["metrics"], "32 examples", "the best (val_loss)", "averaged weights"):
        assert word in told["command"]["stdout"]


def test_every_example_counts_once(folder: Path, told: Any) -> None:
    """Against plain Keras on the exported model: the cross-entropy and the L2 term."""
    import keras

    from tests import made

    options = made.Options(examples=20)
    arrays = made.Task(options).source().make("test")
    model = keras.saving.load_model(folder / "run" / "export" / "model.keras")
    logits = model(arrays["image"], training=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(arrays["label"], logits)
    metrics = told["evaluated"]["auto"]["metrics"]
    assert metrics["loss"] == pytest.approx(float(loss) + float(sum(model.losses)), rel=1e-5)
    right = np.argmax(logits, axis=-1) == arrays["label"]
    assert metrics["accuracy"] == pytest.approx(right.mean(), rel=1e-6)


WORDS = {
    "no run": ["--workdir=nothing", "nothing/run.json", "train first"],
    "no such checkpoint": ["--checkpoint=step-1", "step-00000006-epoch-0003"],
    "no best": ["--checkpoint=best", "val_auc", "--checkpoint=latest"],
    "damaged": ["--checkpoint=damaged/checkpoints/only", "take another"],
    "all damaged": ["--checkpoint=auto", "step-00000002-epoch-0001", "take another"],
    "another model": ["another model or optimizer", "(3, 3, 1, 2)", "config.flags"],
    "no averages": ["--workdir=rows", "average", "is missing there"],
    "no split": ["--validation_split=none", "--eval_split"],
    "no input file": ["--input=images/*.gif", "no file"],
    "no image": ["--input=rows", ".jpg"],
    "wrong size": ["large.png", "5 x 4", "4 x 4", "resize"],
    "no png": ["broken.png", "PNG or JPEG"],
    "output there": ["--output=there.csv", "--overwrite"],
    "bad row": ["bad.csv", "row 3"],
    "export there": ["--export_dir=run/export", "--overwrite"],
    "not an export": ["--export_dir=images", "something else"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(told: Any, case: str) -> None:
    one = told["refused"][case]
    assert one["code"] == BAD_INPUT, one
    assert_refused(one["stderr"], *WORDS[case])
    assert one["stdout"] == "" and one["left"] == []
