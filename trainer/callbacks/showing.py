"""What a task shows of its model after an epoch: numbers, text, pictures."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from trainer.config import Config
from trainer.state import TrainState
from trainer.task import Shown, Task


class Showing(keras.callbacks.Callback):
    """Asks the task after each epoch; its numbers join the logs that all later callbacks see.

    Args:
        config: The run's seed, and whether TensorBoard is wanted.
        task: What is asked.
        state: Its step is the x-axis.
        workdir: Pictures go to `samples/`, the same and text to `tensorboard/samples/`.

    Attributes:
        shown: Of the last epoch.
    """

    def __init__(self, config: Config, task: Task, state: TrainState, workdir: Path) -> None:
        super().__init__()
        self.config, self.task, self.state, self.workdir = config, task, state, workdir
        self.shown = Shown()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Numbers into the logs, the rest to disk."""
        self.shown = self.task.show(self.state.model, self.config.run.seed)
        if logs is not None:
            logs.update(self.shown.numbers)
        for name, image in self.shown.images.items():
            path = self.workdir / "samples" / f"{name}-{self.state.step:08d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy())
        if self.config.callbacks.tensorboard and (self.shown.images or self.shown.text):
            self._summarize(self.shown)

    def _summarize(self, shown: Shown) -> None:
        writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard" / "samples"))
        with writer.as_default(step=self.state.step):
            for name, image in shown.images.items():
                tf.summary.image(name, image[None])
            for name, text in shown.text.items():
                tf.summary.text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        writer.close()
