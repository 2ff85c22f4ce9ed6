"""`run.json`: all that is needed to know a run, and to do it again."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import types
from pathlib import Path
from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT
from trainer.callbacks.record import Record
from trainer.config import configure, flat
from trainer.flagfile import parse
from trainer.meters import Meters

METRICS = ["accuracy", "loss", "val_accuracy", "val_loss"]


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_a_finished_run_is_described(told: Any, loop: str) -> None:
    run, record = told("recorded")[loop]["run"], told("recorded")[loop]["record"]
    assert record["status"] == "done"
    assert (record["step"], record["epochs"], record["skipped_steps"]) == (18, 3, 0)
    assert record["seed"] == 7
    assert record["examples_per_second"] > 0
    assert set(record["versions"]) == {
        "python", "tensorflow", "keras", "numpy", "tensorflow-datasets",
    }  # fmt: skip
    assert record["versions"]["keras"] == keras.__version__
    assert len(set(record["devices"])) == record["flags"]["num_logical_devices"]
    assert record["data"]["name"] == "tests.made"
    digests = record["data"]["sha256"]
    assert set(digests) == {"train", "validation"} and len(set(digests.values())) == 2
    assert sorted(record["final"]) == METRICS
    assert record["final"] == run["final"]
    assert {"epoch", "step", *METRICS} == set(record["best"])


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_the_best_epoch_is_the_histories(told: Any, loop: str) -> None:
    """Of all starts of the run: the first one's epochs are remembered."""
    run, record = told("recorded")[loop]["run"], told("recorded")[loop]["record"]
    history, best = run["history"], record["best"]
    epoch = min(range(3), key=lambda i: history["val_loss"][i])
    assert (best["epoch"], best["step"]) == (epoch + 1, 6 * (epoch + 1))
    assert {name: best[name] for name in METRICS} == {
        name: history[name][epoch] for name in METRICS
    }


@pytest.mark.parametrize("loop", ["tape", "fit"])
def test_the_command_and_the_flags_are_the_run(told: Any, loop: str) -> None:
    record, flagfile = told("recorded")[loop]["record"], told("recorded")[loop]["flags"]
    words = shlex.split(record["command"])
    assert words[:3] == ["python", "-m", "trainer.main"]
    config = parse(words[3:])
    assert json.loads(json.dumps(flat(config))) == record["flags"]
    assert parse(flagfile_lines(flagfile)) == config


def flagfile_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_both_loops_read_the_same_data(told: Any) -> None:
    tape, fit = (told("recorded")[loop]["record"] for loop in ("tape", "fit"))
    assert tape["data"] == fit["data"]
    assert tape["weights_sha256"] == fit["weights_sha256"]
    assert tape["devices"] == fit["devices"]


def make_record(folder: Path, larger: bool = False, **flags: Any) -> Record:
    config = configure(workdir=str(folder), **flags)
    state = types.SimpleNamespace(step=0, epoch=0, skipped=0, digest=lambda: "of weights")
    return Record(folder / "run.json", config, state, Meters(), ("CPU:0",), {}, larger)


def test_the_revision_is_that_of_the_folder_it_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    monkeypatch.chdir(ROOT)
    revision = make_record(tmp_path).facts["git_revision"]
    assert revision.removesuffix("-dirty") == asked.stdout.strip()
    monkeypatch.chdir(tmp_path)
    assert make_record(tmp_path).facts["git_revision"] == ""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_record(tmp_path_factory.mktemp("record"))


values = st.lists(st.none() | st.floats(width=32), min_size=1, max_size=6)


@given(values=values, larger=st.booleans())
def test_the_best_is_the_best_there_was(
    record: Record, values: list[float | None], larger: bool
) -> None:
    """Epochs without the metric, or with one that is no number, are never better."""
    record.sign, record.best = 1 if larger else -1, {}
    for epoch, value in enumerate(values):
        record.on_epoch_end(epoch, {"loss": 1.0} | ({} if value is None else {"val_loss": value}))
    known = [v for v in values if v is not None and not math.isnan(v)]
    if known:
        assert record.best["val_loss"] == (max if larger else min)(known)
        assert values[record.best["epoch"] - 1] == record.best["val_loss"]
    else:
        assert record.best == {}


@given(status=st.sampled_from(["running", "preempted", "failed", "done"]))
def test_the_file_is_whole_at_any_moment(record: Record, status: str) -> None:
    record.write(status)
    assert json.loads(record.path.read_text())["status"] == status
    assert [path.name for path in record.path.parent.iterdir()] == ["run.json"]
