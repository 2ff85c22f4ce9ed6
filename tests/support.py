"""What several tests share: the command line, and functions in a process of their own.

One process holds one strategy for its life, so whatever needs replicas runs in a fresh one.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 300


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what chooses a Keras, with the checkout importable."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("KERAS_BACKEND", "TF_USE_LEGACY_KERAS", "PYTHONWARNINGS")
    }
    return kept | {"PYTHONPATH": str(ROOT)} | changes


def command(*flags: str) -> list[str]:
    """What a person types."""
    return [sys.executable, "-m", "trainer.main", *flags]


def trainer_main(
    *flags: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m trainer.main` with these flags, to its end."""
    return subprocess.run(
        command(*flags),
        env=environment(**(env or {})),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


def in_process(function: str, *arguments: Any) -> Any:
    """What `module:function` returns for the arguments, in a fresh process.

    Raises:
        AssertionError: It failed; the message is all that it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("in", "out")]
        paths[0].write_bytes(pickle.dumps((function, arguments)))
        done = subprocess.run(
            [sys.executable, "-m", "tests.support", *map(str, paths)],
            env=environment(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        assert done.returncode == 0, f"{function} exited {done.returncode}:\n{done.stdout}"
        return pickle.loads(paths[1].read_bytes())


def files_in(folder: Path) -> list[str]:
    """Every file and folder below, by its path from there."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _child(arguments: Sequence[str]) -> None:
    function, given = pickle.loads(Path(arguments[0]).read_bytes())
    module, _, name = function.partition(":")
    result = getattr(importlib.import_module(module), name)(*given)
    Path(arguments[1]).write_bytes(pickle.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's destructors can take seconds


if __name__ == "__main__":
    _child(sys.argv[1:])
