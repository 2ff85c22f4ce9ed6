"""One run a folder; what a run leaves there, and no more, is what --overwrite deletes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import environment, files_in
from trainer.config import configure
from trainer.errors import BadInput
from trainer.flagfile import parse
from trainer.workdir import empty, opened, write_flags, write_json

# Opens a workdir, says so, and holds it until its input ends.
HOLDER = """
import sys
from trainer.config import configure
from trainer.workdir import opened

with opened(configure(workdir=sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def hold(workdir: Path) -> subprocess.Popen[str]:
    """Another process in the folder."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workdir)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    return other


def test_a_second_run_is_turned_away_and_told_of_the_first(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    first = hold(workdir)
    try:
        before = files_in(tmp_path)
        with (
            pytest.raises(BadInput) as refused,
            opened(configure(workdir=str(workdir), overwrite=True)),
        ):
            pytest.fail("two runs in one folder")
        text = str(refused.value)
        assert text.startswith(f"--workdir={workdir} is in use by process {first.pid} on ")
        assert "wait for it, or choose another folder" in text
        assert files_in(tmp_path) == before
    finally:
        first.communicate(timeout=30)
    with opened(configure(workdir=str(workdir))) as free:
        assert free == workdir


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_holds_nothing(tmp_path: Path, number: int) -> None:
    first = hold(tmp_path)
    os.kill(first.pid, number)
    assert first.wait(timeout=30) == -number
    with opened(configure(workdir=str(tmp_path))):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()
    first.communicate()


def test_the_same_folder_by_another_name_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with (
        opened(configure(workdir=str(tmp_path / "run"))),
        pytest.raises(BadInput, match="is in use by process"),
        opened(configure(workdir=str(tmp_path / "link"))),
    ):
        pytest.fail("two runs in one folder")


def test_a_folder_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with opened(configure(workdir="~/runs/one")) as workdir:
        assert workdir == tmp_path / "runs" / "one"
        assert workdir.is_dir()


@pytest.mark.parametrize("place", ["file/run", "file", "/proc/run"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    """As root too, who may write wherever a folder can be."""
    (tmp_path / "file").write_text("")
    workdir = place if place.startswith("/") else str(tmp_path / place)
    with pytest.raises(BadInput) as refused, opened(configure(workdir=workdir)):
        pytest.fail("no folder can be there")
    assert str(refused.value).startswith(f"--workdir={workdir} cannot be written to (")
    assert files_in(tmp_path) == ["file"]


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    workdir = tmp_path / "a" / "run"
    config = configure(workdir=str(workdir))
    with pytest.raises(BadInput, match="refused"), opened(config):
        write_flags(workdir, config)
        raise BadInput("refused")
    assert not workdir.exists()


@pytest.mark.parametrize("kept", ["checkpoints", "lock", "mine.txt"])
def test_a_refused_run_leaves_what_was_there(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).write_text("mine") if kept != "checkpoints" else (tmp_path / kept).mkdir()
    with pytest.raises(BadInput, match="refused"), opened(configure(workdir=str(tmp_path))):
        raise BadInput("refused")
    assert files_in(tmp_path) == sorted({kept, "lock"})


OF_A_RUN = [
    "checkpoints/step-00000010-epoch-0001/manifest.json",
    "checkpoints/step-00000010-epoch-0001/numbers.npz",
    "config.flags",
    "run.json",
    "tensorboard/train/events.out",
    "tensorboard/validation/events.out",
    "xla.json",
]
OF_OTHERS = ["lock", "mine.txt", "checkpoints.old/x", "data/images", "run.json.bak", "tensorboard2"]


@given(runs=st.sets(st.sampled_from(OF_A_RUN)), others=st.sets(st.sampled_from(OF_OTHERS)))
def test_overwrite_deletes_what_a_run_leaves_and_nothing_else(
    runs: set[str], others: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    workdir = tmp_path_factory.mktemp("run")
    for name in runs | others:
        path = workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    empty(workdir)
    left = [str(p.relative_to(workdir)) for p in workdir.rglob("*") if p.is_file()]
    assert sorted(left) == sorted(others)


def test_overwrite_follows_a_link_to_another_disk(tmp_path: Path) -> None:
    """Else the run would go on from checkpoints that were to be deleted."""
    disk, workdir = tmp_path / "disk", tmp_path / "run"
    (disk / "step-00000010-epoch-0001").mkdir(parents=True)
    workdir.mkdir()
    (workdir / "checkpoints").symlink_to(disk)
    empty(workdir)
    assert (workdir / "checkpoints").is_symlink() and list(disk.iterdir()) == []


def test_the_flags_kept_give_the_run_again(tmp_path: Path) -> None:
    """But not its --overwrite: the same flagfile again must not delete what it made."""
    config = configure(workdir=str(tmp_path), epochs=3, overwrite=True)
    write_flags(tmp_path, config)
    assert parse([f"--flagfile={tmp_path / 'config.flags'}"]) == config.replace(overwrite=False)


@given(st.recursive(st.integers() | st.text(), st.lists))
def test_json_is_replaced_whole(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    import json

    path = tmp_path_factory.mktemp("json") / "run.json"
    write_json(path, "before")
    write_json(path, content)
    assert json.loads(path.read_text()) == content
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]
