"""What a task shows of its model after an epoch: numbers, text, pictures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainer.callbacks.averages import EvaluateAverages
from trainer.config import Config
from trainer.state import TrainState
from trainer.task import Shown, Task

log = logging.getLogger("trainer")


class Showing(keras.callbacks.Callback):
    """Asks the task after each epoch; its numbers join the logs that all later callbacks see.

    A full disk ends the pictures, not the training.

    Args:
        config: The run's seed, and whether TensorBoard is wanted.
        task: What is asked.
        state: Its step is the x-axis.
        workdir: Pictures go to `samples/`, the same and text to `tensorboard/samples/`.
        averages: Lends the model its averaged weights, if there are any: those are shown, whether
            or not the epoch ended with an evaluation.

    Attributes:
        shown: Of the last epoch; after a restart its text alone.
    """

    def __init__(
        self,
        config: Config,
        task: Task,
        state: TrainState,
        workdir: Path,
        averages: EvaluateAverages | None,
    ) -> None:
        super().__init__()
        self.config, self.task, self.state, self.workdir = config, task, state, workdir
        self.averages = averages
        self.wanted = type(task).show is not Task.show
        self.shown = Shown()
        self.writer: tf.summary.SummaryWriter | None = None

    def get_state(self) -> dict[str, Any]:
        """The text, for the closing summary of a run that is started again at its end."""
        return {"text": self.shown.text}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.shown = Shown(text=state["text"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Numbers into the logs, the rest to disk."""
        if not self.wanted:
            return
        if self.averages is not None:
            self.averages.lend()
        self.shown = self.task.show(self.state.model, self.config.run.seed)
        if logs is not None:
            logs.update(self.shown.numbers)
        try:
            self._write(self.shown)
        except (OSError, tf.errors.OpError) as error:
            log.warning("What the task shows is not on disk: %s", error)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Writes what is still in memory."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _write(self, shown: Shown) -> None:
        for name, image in shown.images.items():
            path = self.workdir / "samples" / f"{name}-{self.state.step:08d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy())
        if not self.config.callbacks.tensorboard or not (shown.images or shown.text):
            return
        if self.writer is None:
            folder = self.workdir / "tensorboard" / "samples"
            self.writer = tf.summary.create_file_writer(str(folder))
        with self.writer.as_default(step=self.state.step):
            for name, image in shown.images.items():
                tf.summary.image(name, image[None])
            for name, text in shown.text.items():
                tf.summary.text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        self.writer.flush()
