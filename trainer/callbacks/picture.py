"""A batch of the input as the model sees it, as a picture in TensorBoard."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.data.plan import IndexPlan
from trainer.data.readers import Reader
from trainer.state import TrainState

log = logging.getLogger("trainer")

MOST_IMAGES = 16


class InputPicture(keras.callbacks.Callback):
    """Draws the first images of the next batch when training begins: cropped, augmented, scaled.

    Where the input is no batch of images with 1 or 3 channels, nothing is drawn.

    Args:
        folder: Of TensorBoard; the picture goes to its `samples/`.
        reader: Of the training split.
        plan: Which examples a step sees.
        state: Where training begins.
    """

    def __init__(self, folder: Path, reader: Reader, plan: IndexPlan, state: TrainState) -> None:
        super().__init__()
        self.folder, self.reader, self.plan, self.state = folder, reader, plan, state

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """One picture a start."""
        one = tf.constant(1, tf.int64)
        share = self.plan.rows(one * self.state.step, one, one - 1, 1)
        few = dataclasses.replace(share, rows=share.rows[:MOST_IMAGES])
        try:
            x = self.reader.read(self.plan, few)[0]
            if not tf.is_tensor(x) or x.shape.rank != 4 or x.shape[-1] not in (1, 3):
                return
            writer = tf.summary.create_file_writer(str(self.folder / "samples"))
            with writer.as_default(step=self.state.step):
                tf.summary.image("input", grid(x.numpy())[None])
            writer.close()
        except tf.errors.OpError as error:
            log.warning("No picture of the input: %s", error.message.splitlines()[0])


def grid(images: np.ndarray) -> np.ndarray:
    """Images side by side, their least value black and their largest white.

    Args:
        images: Numbers `[n, height, width, channels]`.

    Returns:
        uint8 `[rows * height, columns * width, channels]`; places without an image are black.
    """
    number, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(number))
    rows = math.ceil(number / columns)
    values = images.astype(np.float64)
    least, spread = values.min(), np.ptp(values) or 1.0
    placed = np.zeros((rows * columns, height, width, channels), np.uint8)
    placed[:number] = np.round(255 * (values - least) / spread)
    square = placed.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return square.reshape(rows * height, columns * width, channels)
