"""`--mode=train`: the run from its flags to its summary."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import keras

from trainer import compilation, errors, fit, hooks, loop, resume, runtime
from trainer.assembly import Parts, assemble
from trainer.callbacks.progress import Progress, ordered
from trainer.callbacks.record import Record
from trainer.callbacks.saving import Saving
from trainer.callbacks.showing import Showing
from trainer.callbacks.tensorboard import Summaries
from trainer.checkpoint import Checkpoints
from trainer.config import Config
from trainer.faults import refuse_fault
from trainer.meters import Meters
from trainer.workdir import empty, opened, write_flags

log = logging.getLogger("trainer")


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a run.

    Attributes:
        model: Trained; with the averaged weights under `--ema_momentum`, with the best ones after
            an early stop that restores them.
        final: The last epoch's metrics, under Keras's names.
        best: Those of the epoch with the best `--best_metric`.
        history: Metric name to its value after each epoch.
        step: Steps in all.
        skipped: Those that were not finite and changed nothing.
        examples_per_second: In the last call; 0 where nothing was left to train.
        speed: The same in words, in what the task counts by.
        weights_sha256: Digest of the model's weights: equal where two runs are equal to the bit.
        workdir: Where everything lies.
        text: What the task showed in words after the last epoch.
    """

    model: keras.Model
    final: dict[str, float]
    best: dict[str, float]
    history: dict[str, list[float]]
    step: int
    skipped: int
    examples_per_second: float
    speed: str
    weights_sha256: str
    workdir: Path
    text: dict[str, str]


def run(config: Config) -> int:
    """Trains, and says what came of it."""
    result = train(config)
    print(summary(config, result), flush=True)
    return errors.OK


def train(config: Config, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Result:
    """Trains, or goes on with what `--workdir` holds.

    Args:
        config: What to train, and how.
        callbacks: Keras callbacks of your own, called before the project's.

    Raises:
        BadInput: A flag does not fit; nothing was done.
        Halted: A step was not finite.
        Preempted: A signal came; the state is saved.
    """
    strategy = runtime.set_up(config)
    with opened(config) as workdir:
        parts = assemble(config, strategy)
        checkpoints = Checkpoints(workdir, parts.state, config.checkpoint)
        resume.begin(config, parts, checkpoints)
        fit.compile_model(parts)
        hooks.refuse_unfit(callbacks, parts)
        if config.run.overwrite:  # nothing can be refused any more
            empty(workdir)
        write_flags(workdir, config)
        meters, history = Meters(items=parts.task.items()), keras.callbacks.History()
        record = _record(workdir, parts, checkpoints, meters)
        showing, others = hooks.chosen(config, parts, meters, workdir, callbacks)
        own = [showing, *others, record, history]
        saving = Saving(
            checkpoints, parts.state, own, config.checkpoint, parts.schedule.steps_per_epoch,
            mid_epoch=config.run.loop == "tape",
        )  # fmt: skip
        try:
            saving.listen()
            if config.run.loop == "fit":
                fit.train(parts, [*own, saving], meters)
            else:
                compiled = compilation.choose(parts, workdir)
                loop.train(parts, [*own, saving], meters, compiled)
        except BaseException as stop:
            record.stopped(stop)
            refuse_fault(parts, stop)
            raise
        finally:
            saving.release()
            for callback in own:
                if isinstance(callback, (Summaries, Progress, Showing)):
                    callback.close()
        record.write("done")
        return Result(
            model=parts.state.model,
            final=record.final,
            best=record.best,
            history=dict(history.history),
            step=parts.state.step,
            skipped=parts.state.skipped,
            examples_per_second=meters.examples_per_second,
            speed=meters.speed,
            weights_sha256=parts.state.digest(),
            workdir=workdir,
            text=showing.shown.text,
        )


def _record(workdir: Path, parts: Parts, checkpoints: Checkpoints, meters: Meters) -> Record:
    devices = parts.strategy.extended.worker_devices
    data = {**dataclasses.asdict(parts.data.info), "sha256": parts.data.fingerprints()}
    path = workdir / "run.json"
    larger = checkpoints.larger_is_better
    return Record(path, parts.config, parts.state, meters, devices, data, larger)


def summary(config: Config, result: Result) -> str:
    """The closing lines of a run."""

    def listed(metrics: dict[str, float]) -> str:
        numbers = {k: v for k, v in ordered(metrics).items() if k not in ("epoch", "step")}
        return "  ".join(f"{name} {value:.4f}" for name, value in numbers.items())

    speed = f", {result.speed}" if result.examples_per_second else ""
    skipped = f", {result.skipped} of them skipped: not finite" if result.skipped else ""
    lines = [f"Done: {result.step} steps{speed}{skipped}."]
    if result.best:
        lines.append(f"  best ({config.checkpoint.best_metric}), epoch {result.best['epoch']}:")
        lines.append(f"    {listed(result.best)}")
    if result.final:
        lines.append(f"  final:\n    {listed(result.final)}")
    lines.append(f"  weights      sha256 {result.weights_sha256}")
    lines.append(f"  checkpoints  {result.workdir / 'checkpoints'}")
    lines.append(f"  record       {result.workdir / 'run.json'}")
    if config.callbacks.tensorboard:
        lines.append(f"  curves       tensorboard --logdir {result.workdir / 'tensorboard'}")
    lines += [f"{name}:\n{text}" for name, text in result.text.items()]
    return "\n".join(lines)
