"""Kill it anywhere, start the same command: the run ends as if nothing had happened, bit for bit.

With dropout, augmentation, shuffling, partial batches and early stopping on, on two replicas; each
start is a process of its own.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support import DEADLINE_SECONDS, command, environment, files_in
from trainer.checkpoint import _unpack
from trainer.errors import OK, PREEMPTED

FLAGS = [
    "--task=tests.made",
    "--num_logical_devices=2",
    "--global_batch_size=8",
    "--examples=43",  # the last batch of an epoch has 3
    "--steps_per_loop=2",
    "--noise=0.6",
    "--learning_rate=0.2",
    "--dropout=0.3",
    "--shift=1",
    "--flip",
    "--batch_norm",
    "--epochs=30",
    "--early_stopping_patience=3",
    "--checkpoint_every_steps=3",
    "--notensorboard",
    "--progress=none",
]


def start(workdir: Path, *flags: str, plan: str = "") -> subprocess.CompletedProcess[str]:
    """One start of the run, with what befalls it."""
    words = command(*FLAGS, f"--workdir={workdir}", *flags)
    if plan:
        words[2:3] = ["tests.dying", plan]
    return subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )


def newest(workdir: Path) -> Path:
    return max(workdir.glob("checkpoints/step-*"))


def content(workdir: Path) -> dict[str, Any]:
    """All that the newest checkpoint holds: variables, and what the loop and callbacks remember."""
    folder = newest(workdir)
    reader = tf.train.load_checkpoint(str(folder / "variables"))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE")]
    assert any("seed_generator" in name for name in names)
    return {
        "step": folder.name,
        "variables": {name: reader.get_tensor(name) for name in sorted(names)},
        "numbers": _unpack((folder / "numbers.npz").read_bytes()),
    }


def assert_bit_equal(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_bit_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_bit_equal(a, b, f"{where}/{i}")
    elif isinstance(one, (np.ndarray, np.generic)):
        assert one.tobytes() == other.tobytes(), f"{where}: {one} {other}"
    else:
        assert repr(one) == repr(other), where


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of a run that nothing befell."""
    workdir = tmp_path_factory.mktemp("whole")
    done = start(workdir)
    assert done.returncode == OK, done.stderr
    return workdir


@pytest.fixture(scope="module")
def cut(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The workdir of one that was cut off, each time elsewhere, and how each start ended."""
    workdir = tmp_path_factory.mktemp("cut")
    last = json.loads((whole / "run.json").read_text())["step"]
    calls = random.randrange(1, last // 4)
    plans = [
        f"call:{calls}:TERM",
        f"sync:{random.randrange(1, 30)}:KILL",
        f"test:{random.randrange(1, 3)}:TERM",
    ]
    starts = []
    for plan in plans:
        done = start(workdir, plan=plan)
        step = newest(workdir).name if list(workdir.glob("checkpoints/step-*")) else ""
        starts.append((plan, done, step))
    done = start(workdir)
    assert done.returncode == OK, (plans, done.stderr)
    return workdir, starts


def record(workdir: Path) -> dict[str, Any]:
    return dict(json.loads((workdir / "run.json").read_text()))


def test_the_run_is_one_that_early_stopping_ends(whole: Path) -> None:
    told = record(whole)
    assert told["status"] == "done" and 4 < told["epochs"] < 30
    assert content(whole)["numbers"]["stopped"] is True


def test_each_start_ended_as_it_should(cut: tuple[Path, list[Any]]) -> None:
    _, starts = cut
    for plan, done, _ in starts:
        if plan.endswith("KILL"):
            assert done.returncode == -signal.SIGKILL, (plan, done.stderr)
        else:
            assert done.returncode == PREEMPTED, (plan, done.stderr)
            last = done.stderr.strip().splitlines()[-1]
            assert last.startswith("trainer: SIGTERM: saved at step "), plan
            assert "the same command goes on from there" in last
            assert "Traceback" not in done.stderr


def test_the_end_is_that_of_a_whole_run(whole: Path, cut: tuple[Path, list[Any]]) -> None:
    """Weights, slots, seeds, statistics; what early stopping and the history remember."""
    workdir, starts = cut
    one, other = content(whole), content(workdir)
    assert_bit_equal(one, other, str([plan for plan, _, _ in starts]))
    assert {"EarlyStopping", "History", "Record"} <= set(one["numbers"]["callbacks"])
    assert one["numbers"]["callbacks"]["EarlyStopping"]["best_weights"]


def test_the_record_is_that_of_a_whole_run(whole: Path, cut: tuple[Path, list[Any]]) -> None:
    one, other = record(whole), record(cut[0])
    for name in (
        "status",
        "step",
        "epochs",
        "skipped_steps",
        "final",
        "best",
        "seed",
        "data",
        "weights_sha256",
    ):
        assert one[name] == other[name], name


def test_a_run_that_ended_does_not_go_on(cut: tuple[Path, list[Any]]) -> None:
    """Started again it says its results, and leaves every checkpoint as it was."""
    workdir = cut[0]
    before = record(workdir)
    files = [(p, p.stat().st_mtime_ns) for p in sorted(workdir.glob("checkpoints/**/*"))]
    done = start(workdir)
    assert done.returncode == OK, done.stderr
    assert f"Done: {before['step']} steps" in done.stdout
    assert [(p, p.stat().st_mtime_ns) for p in sorted(workdir.glob("checkpoints/**/*"))] == files
    after = record(workdir)
    assert [after[n] for n in ("final", "best", "step")] == [
        before[n] for n in ("final", "best", "step")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_at_random(whole: Path, tmp_path: Path, seed: int) -> None:
    """At any moment, in the middle of saves, and by SIGINT too."""
    chance, plans = random.Random(seed), []
    for _ in range(5):
        kind = chance.choice(["moment", "moment", "sync", "call"])
        most = {"moment": 900, "sync": 60, "call": 9}[kind]
        ending = chance.choice(["TERM", "INT"]) if kind == "call" else "KILL"
        plans.append(f"{kind}:{chance.randrange(1, most)}:{ending}")
        done = start(tmp_path, plan=plans[-1])
        assert done.returncode in (OK, PREEMPTED, -signal.SIGKILL), (plans, done.stderr)
    done = start(tmp_path)
    assert done.returncode == OK, (plans, done.stderr)
    assert_bit_equal(content(whole), content(tmp_path), str(plans))
    left = {name.split("/")[1] for name in files_in(tmp_path) if name.startswith("checkpoints/")}
    assert len(left) <= 3, left  # the last two and the best: what was cut off is swept


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(whole: Path, tmp_path: Path) -> None:
    """Asked twice, it does not wait for the call to end; what was saved is whole."""
    plan = "call:5:TERM"
    first = start(tmp_path, plan=plan)
    assert first.returncode == PREEMPTED
    # two in the same call: the handler has heard the first when the second comes
    impatient = start(tmp_path, plan="call:2:TERM+TERM")
    assert impatient.returncode == -signal.SIGTERM, impatient.stderr
    assert start(tmp_path).returncode == OK
    assert_bit_equal(content(whole), content(tmp_path))


@pytest.mark.slow
def test_fit_goes_on_at_an_epochs_start(tmp_path: Path) -> None:
    """It keeps nothing within an epoch, does that epoch again, and ends the same all the same."""
    even = ["--loop=fit", "--examples=48", "--checkpoint_every_steps=0"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, *even).returncode == OK
    for plan in ("batch:4:TERM", "batch:5:TERM", "test:2:TERM", "batch:2:KILL"):
        done = start(cut, *even, plan=plan)
        assert done.returncode in (PREEMPTED, -signal.SIGKILL), (plan, done.stderr)
    assert start(cut, *even).returncode == OK
    assert_bit_equal(content(whole), content(cut))


@pytest.mark.slow
def test_fit_does_not_go_on_within_the_tapes_epoch(tmp_path: Path) -> None:
    even = ["--examples=48", "--checkpoint_every_steps=0"]
    assert start(tmp_path, *even, plan="call:2:TERM").returncode == PREEMPTED
    before = content(tmp_path)
    done = start(tmp_path, *even, "--loop=fit")
    assert done.returncode == 64
    assert "--loop=fit goes on at the start of an epoch only" in done.stderr
    assert_bit_equal(before, content(tmp_path))
