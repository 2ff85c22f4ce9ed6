"""Summaries for TensorBoard."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from trainer.conditions import profile_range
from trainer.config import Config
from trainer.flagfile import as_text, to_flagfile
from trainer.meters import Meters
from trainer.state import TrainState

log = logging.getLogger("trainer")


class Summaries(keras.callbacks.Callback):
    """Training and validation scalars over steps, and what the loop measures of itself.

    `train/` and `validation/` hold metrics under the same names, so that TensorBoard draws both
    curves in one picture. A full disk ends the summaries, not the training.

    Args:
        folder: Where to.
        config: Shown as text and as hyperparameters.
        state: Its step is the x-axis.
        meters: What the loop measures.
    """

    def __init__(self, folder: Path, config: Config, state: TrainState, meters: Meters) -> None:
        super().__init__()
        self.folder, self.config, self.state, self.meters = folder, config, state, meters
        self.profile = profile_range(config) if config.callbacks.profile_steps else None
        self.profiling = False
        self.written_step = -1
        self.latest: dict[str, float] = {}
        self.writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """The configuration as text and as hyperparameters."""
        for name in ("train", "validation"):
            self.writers[name] = tf.summary.create_file_writer(str(self.folder / name))
        with self.writers["train"].as_default(step=self.state.step):
            text = to_flagfile(self.config)
            tf.summary.text("config", "\n".join(f"    {line}" for line in text.splitlines()))
            hparams.hparams(
                hyperparameters(self.config), trial_id=str(self.folder.parent.resolve())
            )
        self.written_step = self.state.step

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the profiler at the first call that reaches its window."""
        if self.profile and not self.profiling and self.state.step >= self.profile[0]:
            tf.profiler.experimental.start(str(self.folder))
            self.profiling = True

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Scalars of training, now and then."""
        if self.profile and self.profiling and self.state.step >= self.profile[1]:
            self._stop_profiler()
        self.latest = dict(logs or {})
        if self.state.step - self.written_step >= self.config.callbacks.log_every_steps:
            self._write_training(self.latest)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Scalars of both splits."""
        logs = logs or {}
        if self.state.step > self.written_step:
            self._write_training(self.latest)
        validation = {k.removeprefix("val_"): v for k, v in logs.items() if k.startswith("val_")}
        self._write("validation", {f"epoch/{k}": v for k, v in validation.items()})
        training = {k: v for k, v in logs.items() if not k.startswith("val_")}
        self._write("train", {f"epoch/{k}": v for k, v in training.items()})

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the files."""
        self.close()

    def close(self) -> None:
        """Writes what is still in memory."""
        if self.profiling:
            self._stop_profiler()
        for writer in self.writers.values():
            writer.close()
        self.writers = {}

    def _stop_profiler(self) -> None:
        tf.profiler.experimental.stop()
        self.profile, self.profiling = None, False
        log.info("The profile is in %s.", self.folder)

    def _write_training(self, logs: dict[str, float]) -> None:
        scalars = {f"batch/{name}": value for name, value in logs.items()}
        scalars |= {f"loop/{name}": value for name, value in self.meters.scalars().items()}
        for name, optimizer in self.state.optimizers.items():
            label = "learning_rate" if len(self.state.optimizers) == 1 else f"learning_rate_{name}"
            scalars[f"loop/{label}"] = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        self._write("train", scalars)
        self.written_step = self.state.step

    def _write(self, writer: str, scalars: dict[str, float]) -> None:
        if writer not in self.writers:
            return
        try:
            with self.writers[writer].as_default(step=self.state.step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self.writers[writer].flush()
        except tf.errors.OpError as error:
            log.warning("No more summaries: %s", error.message)
            self.writers = {}


def hyperparameters(config: Config) -> dict[str, Any]:
    """The flags that runs are compared by: what is trained and how, not where it lies."""
    values: dict[str, Any] = {"task": config.run.task, "seed": config.run.seed}
    for part in (config.task_options, config.loop, config.step, config.optimizer):
        values |= dataclasses.asdict(part)
    return {k: as_text(v) if isinstance(v, tuple) else v for k, v in values.items()}
