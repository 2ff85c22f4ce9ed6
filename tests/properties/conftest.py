"""Replicas for the property tests: one process a replica count, kept for the whole session.

A second strategy breaks the first one's collectives (tensorflow#61314), so each number of replicas
has a process of its own, which does what the tests ask for, one thing at a time.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from tests.properties.distance import distance

SECONDS = 300  # the longest single request takes 10


@pytest.fixture(scope="session")
def run() -> Iterator[Callable[..., Any]]:
    """`run("trained", 2, optimizer="sgd")` is `worker.trained` on 2 replicas, done once."""
    processes: dict[tuple[int, bool], ProcessPoolExecutor] = {}

    @functools.cache
    def run(what: str, replicas: int, **flags: Any) -> Any:
        key = replicas, flags.get("deterministic", False)  # which cannot be taken back
        if key not in processes:
            spawn = multiprocessing.get_context("spawn")
            processes[key] = ProcessPoolExecutor(1, mp_context=spawn)
        return processes[key].submit(_call, what, replicas, flags).result(SECONDS)

    yield run
    for process in processes.values():
        process.submit(os._exit, 0)  # TensorFlow's destructors would take up to half a minute
        process.shutdown()


def _call(what: str, replicas: int, flags: dict[str, Any]) -> Any:
    """In the process of these replicas; TensorFlow is imported there alone."""
    import faulthandler

    from trainer import environment

    environment.settle()
    from tests.properties import worker

    faulthandler.dump_traceback_later(SECONDS, exit=True)  # a hang ends the process, with its place
    try:
        return getattr(worker, what)(replicas, **flags)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def agree(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """`agree(one, other, tolerance)` compares two runs; `--junitxml` keeps the distances.

    Unless `alike` is false, all replicas must hold the same copy of every variable.
    """

    def check(
        one: dict[str, Any], other: dict[str, Any], tolerance: float, alike: bool = True
    ) -> None:
        assert one["unlike"] == other["unlike"]
        assert not one["unlike"] or not alike, "replicas hold different copies"
        worst, name = distance(one["weights"], other["weights"])
        record_property("distance", f"{worst:.1e} of {tolerance}: {name}")
        assert worst <= tolerance, f"{name} differs by {worst:.1e} of its size"

    return check
