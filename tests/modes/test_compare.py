"""Two runs side by side: made-up records and summaries, and two real runs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support import trainer_main
from trainer.config import configure
from trainer.errors import BAD_INPUT, BadInput
from trainer.modes import compare
from trainer.recorded import read

RECORD: dict[str, Any] = {
    "step": 40,
    "final": {"loss": 0.5, "val_loss": 0.6},
    "weights_sha256": "a" * 64,
    "data": {"name": "made", "sha256": {"train": "1", "validation": "2"}},
    "flags": {"seed": 0, "workdir": "A", "learning_rate": 0.1, "width": 8},
    "devices": ["CPU:0"],
    "versions": {"tensorflow": "2.21.0"},
    "machine": {"system": "Linux"},
    "git_revision": "abc",
}
LOSS = {10: 2.0, 20: 1.0, 30: 0.7, 40: 0.5}


def make(folder: Path, record: dict[str, Any], loss: dict[int, float] | None) -> Path:
    """A workdir as a run leaves it."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    if loss is not None:
        with tf.summary.create_file_writer(str(folder / "tensorboard" / "train")).as_default():
            for step, value in loss.items():
                tf.summary.scalar("batch/loss", value, step=step)
                tf.summary.scalar("loop/step_seconds", folder.name == "A", step=step)
    return folder


@pytest.fixture
def compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`compared(record, loss, tolerance)`: the exit code and what is printed, against `RECORD`."""
    make(tmp_path / "A", RECORD, LOSS)

    def run(
        changes: dict[str, Any], loss: dict[int, float] | None = LOSS, tolerance: float = 0.0
    ) -> tuple[int, str, bool]:
        record = copy.deepcopy(RECORD)
        for path, value in changes.items():
            part, _, name = path.partition(".")
            if name:
                record[part][name] = value
            else:
                record[part] = value
        other = make(tmp_path / "B", record, loss)
        runs = (str(tmp_path / "A"), str(other))
        config = configure(mode="compare", runs=runs, tolerance=tolerance)
        code = compare.run(config)
        return code, capsys.readouterr().out, (other / "comparison.png").exists()

    return run


def test_a_run_equals_itself_in_another_folder_whatever_the_clock_says(compared: Any) -> None:
    code, text, drawn = compared({"flags.workdir": "B"})
    assert code == 0 and drawn
    assert "Nothing that decides the weights was different" in text
    assert "Equal: every metric, and every weight to the bit." in text


def test_the_first_point_that_differs_is_named(compared: Any) -> None:
    code, text, _ = compared({"weights_sha256": "b" * 64}, {**LOSS, 30: 0.77, 40: 0.6})
    assert code == 1
    assert "part at step 30: batch/loss is 0.7 in A and 0.77 in B (9.1e-02" in text
    assert "equal until step 20" in text


def test_rounding_is_called_rounding_and_may_be_tolerated(compared: Any, tmp_path: Path) -> None:
    near = {step: value * (1 + 1e-6) for step, value in LOSS.items()}
    code, text, _ = compared({"weights_sha256": "b" * 64}, near, tolerance=1e-5)
    assert code == 0 and "within --tolerance" in text
    one, other = (read(str(tmp_path / name)) for name in "AB")
    parted = compare.divergence(one, other)
    assert parted is not None and parted.step == 10 and parted.share < 1e-5


def test_the_likeliest_cause_stands_first(compared: Any) -> None:
    changes = {
        "git_revision": "def", "versions.tensorflow": "2.20.0", "flags.width": 4,
        "flags.learning_rate": 0.2, "data.sha256": {"train": "9", "validation": "2"},
        "devices": ["CPU:0", "CPU:1"],
    }  # fmt: skip
    code, text, _ = compared({**changes, "weights_sha256": "b" * 64})
    assert code == 1
    order = ["train data", "--width", "--learning_rate", "replicas", "tensorflow", "git revision"]
    assert [text.index(name) for name in order] == sorted(text.index(name) for name in order)


@pytest.mark.parametrize(
    "changes", [{"step": 50}, {"weights_sha256": "b" * 64}, {"final.val_loss": 0.7}]
)
def test_runs_without_summaries_are_told_apart_by_their_ends(compared: Any, changes: Any) -> None:
    code, text, drawn = compared(changes, loss=None)
    assert code == 1 and not drawn
    assert "No courses to align" in text


def test_what_a_restart_did_again_counts_as_it_was_last(tmp_path: Path) -> None:
    folder = make(tmp_path / "A", RECORD, LOSS)
    with tf.summary.create_file_writer(str(folder / "tensorboard" / "train")).as_default():
        tf.summary.scalar("batch/loss", 9.0, step=40)
    assert read(str(folder)).series["batch/loss"] == pytest.approx({**LOSS, 40: 9.0})


@pytest.mark.parametrize("runs", [(), ("one",), ("one", "two", "three")])
def test_two_workdirs_are_wanted(runs: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="--mode=compare wants two"):
        compare.run(configure(mode="compare", runs=runs))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = trainer_main("--mode=compare", f"--runs={tmp_path},{tmp_path}")
    assert done.returncode == BAD_INPUT
    assert f"--runs={tmp_path} has no run.json" in done.stderr
