"""Which callbacks a run has, and those that it cannot have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from trainer import errors, fit
from trainer.assembly import Parts
from trainer.callbacks.averages import EvaluateAverages
from trainer.callbacks.picture import InputPicture
from trainer.callbacks.progress import Progress
from trainer.callbacks.showing import Showing
from trainer.callbacks.tensorboard import Summaries
from trainer.checkpoint import larger_is_better
from trainer.config import Checkpoint, Config
from trainer.meters import Meters


def chosen(
    config: Config,
    parts: Parts,
    meters: Meters,
    workdir: Path,
    given: Sequence[keras.callbacks.Callback],
) -> tuple[Showing, list[keras.callbacks.Callback]]:
    """What shows the task's numbers, first, and all others in the order in which they are called.

    Args:
        config: The flags, which ask for some.
        parts: What they are about.
        meters: What the loop measures.
        workdir: Where they write.
        given: Those of the caller, called before the flags'.
    """
    swapped = any(isinstance(callback, keras.callbacks.SwapEMAWeights) for callback in given)
    averages = None
    if config.optimizer.ema_momentum and not swapped:  # two swaps would undo each other
        averages = EvaluateAverages(parts.state.optimizers.values())
    showing = Showing(config, parts.task, parts.state, workdir, averages)
    return showing, [
        *given,
        *_asked(config, parts, meters, workdir),
        *([averages] if averages else []),
    ]


def _asked(
    config: Config, parts: Parts, meters: Meters, workdir: Path
) -> list[keras.callbacks.Callback]:
    c = config.callbacks
    asked: list[keras.callbacks.Callback] = []
    if c.early_stopping_patience:
        mode, shown = "auto", parts.task.shown_numbers
        if c.early_stopping_metric in shown:  # Keras knows the direction of metrics alone
            mode = "max" if larger_is_better(c.early_stopping_metric) else "min"
        asked.append(
            keras.callbacks.EarlyStopping(
                monitor=c.early_stopping_metric,
                mode=mode,
                patience=c.early_stopping_patience,
                restore_best_weights=c.restore_best_weights,
            )
        )
    if c.reduce_lr_patience:
        asked.append(
            keras.callbacks.ReduceLROnPlateau(
                patience=c.reduce_lr_patience, factor=c.reduce_lr_factor
            )
        )
    if c.tensorboard:
        folder = workdir / "tensorboard"
        asked.append(Summaries(folder, config, parts.state, meters))
        asked.append(InputPicture(folder, parts.training_reader, parts.plan, parts.state))
    if c.progress != "none":
        asked.append(Progress(meters, c.progress))
    return asked


def refuse_unfit(callbacks: Sequence[keras.callbacks.Callback], parts: Parts) -> None:
    """Callbacks that would fail after hours are refused at the start.

    `BackupAndRestore` backs up and restores nothing: --workdir says where the run stands, and what
    it would put over that is of another step.
    """
    if parts.config.run.loop == "fit":
        fit.refuse_what_fit_cannot(parts)
    _refuse_unknown_metrics(parts)
    scheduled = any(
        isinstance(o._learning_rate, keras.optimizers.schedules.LearningRateSchedule)
        for o in parts.state.optimizers.values()
    )
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            callback.on_train_begin = lambda logs=None: None
        setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
        if isinstance(callback, setters) and scheduled:
            raise errors.BadInput(
                f"{type(callback).__name__} sets the learning rate, which --schedule and "
                "--warmup_steps do not let it; use one or the other."
            )


def _refuse_unknown_metrics(parts: Parts) -> None:
    """A misspelt metric would never be better: no best checkpoint, no early stop."""
    own = list(parts.measures.results())
    known = own + [f"val_{name}" for name in own] * (parts.eval_plan is not None)
    known += parts.task.shown_numbers
    c, best = parts.config.callbacks, parts.config.checkpoint.best_metric
    for flag, metric, used in (
        (f"--best_metric={best}", best, best != Checkpoint.best_metric),
        (
            f"--early_stopping_metric={c.early_stopping_metric}",
            c.early_stopping_metric,
            c.early_stopping_patience,
        ),
        (f"--reduce_lr_patience={c.reduce_lr_patience}", "val_loss", c.reduce_lr_patience),
    ):
        if used and metric not in known:
            raise errors.BadInput(
                f"{flag} watches {metric}, but only {', '.join(known)} are measured here; watch "
                "one of those, or set --validation_split."
            )
