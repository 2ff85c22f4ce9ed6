"""Where a run begins: at its last checkpoint, at another run's weights, or from nothing."""

from __future__ import annotations

import logging
from typing import Any

import keras

from trainer.assembly import Parts
from trainer.checkpoint import Checkpoints, warm_start
from trainer.config import Config
from trainer.errors import BadInput
from trainer.state import decorrelate

log = logging.getLogger("trainer")


def begin(config: Config, parts: Parts, checkpoints: Checkpoints) -> None:
    """Brings the state to where an earlier start left off, or to the beginning.

    Raises:
        BadInput: What lies in `--workdir` or `--init_from` does not fit.
    """
    flags = parts.state.flags
    saved = None if config.run.overwrite else checkpoints.restore()
    if saved is not None:
        _refuse_other_epochs(config, parts)
        _heed_changed_flags(config, parts, flags)
        log.info("Goes on from step %d: %s.", parts.state.step, saved.folder)
    elif config.checkpoint.init_from:
        warm_start(parts.state, config.checkpoint.init_from)
    if not config.step.keras_semantics:
        decorrelate(parts.state, parts.strategy)


def _refuse_other_epochs(config: Config, parts: Parts) -> None:
    state, schedule = parts.state, parts.schedule
    first = state.epoch * schedule.steps_per_epoch
    # a callback may have stopped the run within an epoch, which has ended then all the same
    if state.stopped or state.step >= schedule.train_steps:
        return
    if state.shortened and state.step < first:  # ended in a shorter epoch, and is to go on now
        state.epoch = state.step // schedule.steps_per_epoch
    elif not first <= state.step <= first + schedule.steps_per_epoch:
        raise BadInput(
            f"--workdir={config.run.workdir} stands at step {state.step} after {state.epoch} "
            f"epochs, which epochs of {schedule.steps_per_epoch} steps do not fit; keep "
            "--global_batch_size and --steps_per_epoch, or choose another --workdir."
        )


def _heed_changed_flags(config: Config, parts: Parts, flags: dict[str, Any]) -> None:
    """A checkpoint's own rates and loss scale hold, unless their flags were changed since."""
    state, before = parts.state, parts.state.flags
    for name, rate in flags["learning_rates"].items():
        optimizer = state.optimizers[name]
        changed = before["learning_rates"][name] != rate
        if changed and isinstance(optimizer._learning_rate, keras.Variable):
            optimizer.learning_rate = rate
            log.info("The learning rate of %s is %s, where the run had another.", name, rate)
    if before["precision"] != flags["precision"]:
        half = flags["precision"] == "mixed_float16"
        state.loss_scale = config.step.initial_loss_scale if half else 1.0
        state.good_steps = 0
        log.info("--precision=%s, where the run had another before.", flags["precision"])
    state.flags = flags
