"""Real data for tests, below the folder in `TRAINER_TEST_DATA`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> str:
    """The path of a file there; the test is skipped where there is none, and fails in CI."""
    path = Path(os.environ.get("TRAINER_TEST_DATA", "")) / name
    if not os.environ.get("TRAINER_TEST_DATA") or not path.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs TRAINER_TEST_DATA, a folder with {name}")
        pytest.skip(f"TRAINER_TEST_DATA names no folder with {name}")
    return str(path)
