"""The folder of a run: who is in it, and what was asked for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from trainer.config import Config
from trainer.errors import BadInput
from trainer.flagfile import to_flagfile


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Path]:
    """The run's folder, made where it is missing and held alone until the end.

    The lock goes with the process, however it ends. A run that is refused leaves no new folder.

    Raises:
        BadInput: The folder cannot be written to, or another run holds it.
    """
    workdir = Path(config.run.workdir).expanduser()
    refusal = f"--workdir={config.run.workdir} cannot be written to"
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = os.open(workdir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BadInput(f"{refusal} ({error.strerror}); choose a folder that can be.") from None
    try:
        _hold(lock, workdir)
        try:
            yield workdir
        except BadInput:
            if missing and {path.name for path in workdir.iterdir()} <= {"lock", "config.flags"}:
                shutil.rmtree(workdir)
                with contextlib.suppress(OSError):  # another run may have moved in
                    for folder in missing[1:]:
                        folder.rmdir()
            raise
    finally:
        os.close(lock)


def write_flags(workdir: Path, config: Config) -> None:
    """Keeps what was asked for, once nothing can be refused any more."""
    text = to_flagfile(config.replace(overwrite=False))
    (workdir / "config.flags").write_text(text, encoding="utf-8")


def _hold(lock: int, workdir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 4096, 0).decode(errors="replace").strip() or "another run"
        raise BadInput(
            f"--workdir={workdir} is in use by {holder}; wait for it, or choose another folder."
        ) from None
    if not os.path.samestat(os.fstat(lock), os.stat(workdir / "lock")):
        raise BadInput(f"--workdir={workdir} was deleted by another run; start again.")
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def empty(workdir: Path) -> None:
    """Deletes what a run leaves, and nothing else that may lie there.

    A link to a folder stays, so that checkpoints go on to lie on the disk they were put on.
    """
    for name in ("checkpoints", "tensorboard"):
        for path in (workdir / name).glob("*"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name in ("run.json", "config.flags", "xla.json"):
        (workdir / name).unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Replaces a file by one that is whole at any moment; what is not finite becomes null."""
    unfinished = path.with_name(path.name + ".tmp")
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    unfinished.write_text(text + "\n")
    unfinished.replace(path)


def _finite(content: object) -> object:
    """JSON has no NaN, and readers of other languages refuse Python's."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
