"""A run and what is then done with it, once for all tests of the modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import in_process


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `tests.modes.worker:used` tells."""
    folder = tmp_path_factory.mktemp("modes")
    return in_process("tests.modes.worker:used", str(folder))


@pytest.fixture(scope="session")
def folder(told: dict[str, Any]) -> Path:
    """Where it was done."""
    return Path(told["folder"])
