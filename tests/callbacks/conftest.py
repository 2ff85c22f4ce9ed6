"""What the callbacks did in both loops: one process a replica count, for all tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import in_process

SCENARIOS = [
    "observers",
    "plateau",
    "by_accuracy",
    "averaged",
    "stopped_within_an_epoch",
    "interrupted",
    "averaged_best",
    "recorded",
    "shown",
]


@pytest.fixture(scope="session", params=[2, pytest.param(1, marks=pytest.mark.slow)])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Looks up what a scenario of `both_loops` told, at 1 or 2 replicas."""
    replicas = request.param
    full = replicas == 1
    names = SCENARIOS + ["averaged_on_epochs"] * full
    folder = str(tmp_path_factory.mktemp(f"callbacks-{replicas}"))
    everything = in_process("tests.callbacks.both_loops:run", replicas, folder, names, full)

    def look_up(name: str) -> Any:
        if name not in everything:
            pytest.skip("left to one replica count, for time")
        if isinstance(everything[name], str):
            pytest.fail(everything[name])
        return everything[name]

    return look_up
