"""What a task shows of its model after an epoch: numbers, text, pictures."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from trainer.state import TrainState
from trainer.task import Shown, Task


class Showing(keras.callbacks.Callback):
    """Asks the task after each epoch; its numbers join the logs that all later callbacks see.

    Args:
        task: What is asked.
        state: Its step is the x-axis.
        workdir: Pictures go to `samples/`, the same and text to `tensorboard/samples/`.
        tensorboard: Whether to write the latter.
        seed: Of the run.
    """

    def __init__(
        self, task: Task, state: TrainState, workdir: Path, tensorboard: bool, seed: int
    ) -> None:
        super().__init__()
        self.task, self.state, self.workdir, self.seed = task, state, workdir, seed
        self.tensorboard = tensorboard
        self.shown: Shown | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Numbers into the logs, the rest to disk."""
        self.shown = self.task.show(self.state.model, self.seed)
        if self.shown is None:
            return
        if logs is not None:
            logs.update(self.shown.numbers)
        for name, image in self.shown.images.items():
            path = self.workdir / "samples" / f"{name}-{self.state.step:08d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy())
        if self.tensorboard and (self.shown.images or self.shown.text):
            self._summarize(self.shown)

    def _summarize(self, shown: Shown) -> None:
        writer = tf.summary.create_file_writer(str(self.workdir / "tensorboard" / "samples"))
        with writer.as_default(step=self.state.step):
            for name, image in shown.images.items():
                tf.summary.image(name, image[None])
            for name, text in shown.text.items():
                tf.summary.text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        writer.close()
