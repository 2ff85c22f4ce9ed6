"""The input as the model sees it, where it is a batch of images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.summary.summary_iterator import summary_iterator

from trainer.callbacks.picture import InputPicture, grid
from trainer.data.plan import IndexPlan
from trainer.data.readers import MemoryReader
from trainer.source import Source


def test_images_lie_side_by_side_and_use_the_whole_scale() -> None:
    images = np.stack([np.full((2, 3, 1), value) for value in (-1.0, 0.0, 1.0)])
    picture = grid(images)
    assert picture.shape == (4, 6, 1) and picture.dtype == np.uint8
    assert picture[0, 0] == 0 and picture[0, 3] == 128 and picture[2, 0] == 255
    assert (picture[2:, 3:] == 0).all()  # no fourth image
    assert (grid(np.ones((1, 2, 2, 3))) == 0).all()  # nothing to scale by


def drawn(folder: Path, array: np.ndarray) -> list[np.ndarray]:
    source = Source(
        features=("x",),
        batch=lambda features: (features["x"],),
        augment=lambda features, draws: {"x": features["x"] + 1.0},
        num_draws=1,
    )
    reader = MemoryReader({"x": array}, source, True, 2**20)
    plan = IndexPlan(num_examples=len(array), global_batch_size=9, shuffle=False)
    state: Any = SimpleNamespace(step=2)
    InputPicture(folder, reader, plan, state).on_train_begin()
    return [
        tf.io.decode_png(value.tensor.string_val[2]).numpy()
        for path in folder.rglob("events.*")
        for event in summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "input" and event.step == 2
    ]


def test_the_next_batch_is_drawn_augmented(tmp_path: Path) -> None:
    array = np.zeros((40, 2, 2, 3), np.float32)
    array[18] = 1.0  # the first of the third batch
    (picture,) = drawn(tmp_path, array)
    np.testing.assert_array_equal(picture, grid(array[18:27] + 1.0))


@pytest.mark.parametrize("shape", [(40, 5), (40, 2, 2, 4)])
def test_other_input_is_not_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert drawn(tmp_path, np.zeros(shape, np.float32)) == []
