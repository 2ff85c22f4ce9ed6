"""`--jit_compile=auto`: XLA where it is measured faster, because no rule is right."""

from __future__ import annotations

import json
import logging
import statistics
from pathlib import Path

import tensorflow as tf

from trainer.assembly import Parts
from trainer.errors import BadInput
from trainer.loop import TrainCall
from trainer.meters import Meters
from trainer.workdir import write_json

log = logging.getLogger("trainer")

TRIAL_CALLS, TRIAL_STEPS = 5, 10


def choose(parts: Parts, workdir: Path) -> str:
    """What XLA is to compile: `false`, `update` or `true`, as `TrainStep` takes it.

    The choice is kept in `<workdir>/xla.json`, so that a run that goes on, with the same model on
    the same devices, has the same step.

    Args:
        parts: What is trained; its state is as before afterwards.
        workdir: The run's folder.
    """
    asked = parts.config.step.jit_compile
    if asked == "true" and parts.plan.steps_per_pass > parts.plan.full_steps:
        log.info("XLA compiles twice: the last batch of a pass is smaller (--drop_remainder).")
    if asked != "auto":
        return asked
    kept = workdir / "xla.json"
    measured_on = {
        "devices": list(parts.strategy.extended.worker_devices),
        "model": [parts.state.model.name, parts.state.model.count_params()],
        "batch": [parts.plan.global_batch_size, parts.config.step.accumulation_steps],
        "precision": parts.config.step.precision,
    }
    if kept.exists():
        choice = json.loads(kept.read_text())
        if choice["measured_on"] == measured_on:
            return str(choice["compiled"])
    seconds = {}
    for compiled in ("false", "update", "true"):
        try:
            seconds[compiled] = _trial(parts, compiled)
        except (BadInput, tf.errors.OpError) as error:
            log.info("--jit_compile=%s cannot be: %s", compiled, str(error).splitlines()[0])
    fastest = min(seconds, key=lambda compiled: seconds[compiled])
    choice = {"compiled": fastest, "seconds_a_step": seconds, "measured_on": measured_on}
    write_json(kept, choice)
    figures = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in seconds.items())
    log.info("A step takes, by --jit_compile, %s: %s.", figures, fastest)
    return fastest


def _trial(parts: Parts, compiled: str) -> float:
    """Seconds a step, the first call left out; what the steps changed is put back."""
    state, numbers = parts.state, parts.state.numbers()
    variables = [
        (copy, copy.read_value())
        for variable in state.variables().values()
        for copy in parts.strategy.experimental_local_results(variable)
    ]
    times = []
    try:
        call = TrainCall(parts, meters := Meters(), compiled)
        for _ in range(TRIAL_CALLS + 1):
            call(min(TRIAL_STEPS, parts.schedule.steps_per_loop))
            times.append(meters.step_seconds)
    finally:
        for copy, value in variables:
            copy.assign(value)
        state.set_numbers(numbers)
        parts.measures.reset()
    return statistics.median(times[1:])
