"""Which tests share a process where several run at once (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Their session fixtures keep processes with replicas, which are dear to start.
TOGETHER = ("tests/properties/", "tests/callbacks/")


class Together(LoadScopeScheduling):
    """A file's tests stay together, for their fixtures; so do those of some folders.

    (`--dist=loadgroup` has no effect under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Called by xdist for `--dist`."""
    return Together(config, log)
