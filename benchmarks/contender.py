"""One contender of `benchmarks.throughput`, in a process of its own.

    python -m benchmarks.contender LOOP MODEL REPLICAS

Prints one line of JSON: the fastest settings of this loop and their steps a second. Every way of
compiling that the loop has is run, one after the other: the best one speaks for it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from trainer import environment

environment.settle()

import keras  # noqa: E402
import psutil  # noqa: E402
import tensorflow as tf  # noqa: E402

from trainer import fit, loop, runtime  # noqa: E402
from trainer.assembly import Parts, assemble  # noqa: E402
from trainer.config import configure  # noqa: E402
from trainer.measures import Measures  # noqa: E402
from trainer.meters import Meters  # noqa: E402
from trainer.step import Ledger, TrainStep  # noqa: E402

STEPS = {"dense": 400, "convnet": 100}
STEPS_PER_LOOP = {"dense": 100, "convnet": 50}
WIDTH = {"dense": 128, "convnet": 8}  # with 32 filters convolutions are all of the time
EPOCHS = 5  # the first one is not counted: it traces


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """The clock starts."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """And stops."""
        self.seconds.append(time.perf_counter() - self.began)


def problem(model: str, replicas: int, kind: str, compiled: str, epochs: int = EPOCHS) -> Parts:
    """The parts of a run on noise."""
    config = configure(
        task="benchmarks.problem",
        model=model,
        width=WIDTH[model],
        loop="fit" if kind == "fit" else "tape",
        num_logical_devices=replicas,
        device="auto",
        global_batch_size=128,
        steps_per_epoch=STEPS[model],
        steps_per_loop=STEPS_PER_LOOP[model],
        epochs=epochs,
        validation_split="none",
        jit_compile=compiled,
    )
    return assemble(config, runtime.set_up(config))


def seconds_an_epoch(kind: str, parts: Parts, compiled: str) -> list[float]:
    """Of each epoch but the first."""
    if kind == "bare":
        return _bare(parts, compiled)
    clock = Clock()
    fit.compile_model(parts)
    if kind == "fit":
        fit.train(parts, [clock], Meters())
    else:
        loop.train(parts, [clock], Meters(), compiled)
    return clock.seconds[1:]


def _bare(parts: Parts, compiled: str) -> list[float]:
    """The same step on one batch that is on the device already; no metrics, no callbacks."""
    measures = Measures([], parts.measures.objectives)
    step = TrainStep(
        parts.task,
        parts.state,
        measures,
        parts.strategy,
        parts.config.step,
        parts.per_replica_batch_size,
        compiled,
    )
    block = next(iter(parts.training_data()))
    batch = parts.strategy.run(lambda b: tf.nest.map_structure(lambda t: t[0], b), (block,))

    @tf.function(autograph=False)
    def run(steps: tf.Tensor) -> Ledger:
        def one(*fields: tf.Tensor) -> Ledger:
            return step(batch, Ledger(*fields))

        start = step.ledger(tf.constant(1.0), tf.constant(0))
        return tf.while_loop(lambda *fields: Ledger(*fields).done < steps, one, start)

    epochs = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        run(tf.constant(parts.schedule.steps_per_epoch)).grad_norm.numpy()
        epochs.append(time.perf_counter() - began)
    return epochs[1:]


def memory_slope(steps: int = 6000) -> float:
    """MiB that the tape loop's process grows by in 1,000 steps, the first 1,000 left out."""
    parts = problem("dense", 1, "tape", "false", epochs=1)
    call = loop.TrainCall(parts, Meters(), "false")
    resident = []
    for _ in range(steps // 100):
        call(100)
        resident.append(psutil.Process().memory_info().rss)
    return (resident[-1] - resident[9]) / 2**20 / (steps / 1000 - 1)


def main(kind: str, model: str, replicas: int) -> dict[str, object]:
    """The best of the ways to compile."""
    best: dict[str, object] = {"steps_per_second": 0.0}
    for compiled in ("false", "true") if kind == "fit" else ("false", "update", "true"):
        try:
            parts = problem(model, replicas, kind, compiled)
            median = statistics.median(seconds_an_epoch(kind, parts, compiled))
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            best[f"refused_jit_compile_{compiled}"] = str(error).splitlines()[0][:120]
            continue
        speed = STEPS[model] / median
        if speed > float(str(best["steps_per_second"])):
            settings = f"{STEPS_PER_LOOP[model]} steps a call, jit_compile={compiled}"
            best |= {"steps_per_second": speed, "settings": settings}
    return best


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        print(json.dumps({"mib_per_1000_steps": memory_slope()}))
    else:
        print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
