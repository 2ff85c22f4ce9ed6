"""A user's own task, as a dotted path: `--task=tests.made`. Small, and in need of no dataset.

Images of 4x4 pixels, whose class is the corner that is brightest, with the dropout, augmentation
and networks of `image_classification`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from trainer.options import option
from trainer.source import DataInfo, Features, Source
from trainer.tasks import image_classification

if TYPE_CHECKING:
    import keras

CLASSES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(image_classification.Options):
    """Made images"""

    model: str = option("dense", "the network", choices=("dense", "convnet"))
    width: int = option(6, "hidden units, or first filters", minimum=1)
    examples: int = option(48, "training examples", minimum=0)
    noise: float = option(0.0, "share of the training labels that are wrong", maximum=1.0)
    bad_pixel: int = option(-1, "row of the training split with an infinite pixel; -1: none")


class Task(image_classification.Task):
    """Which corner is brightest."""

    options: Options

    def source(self) -> Source:
        """Made here, and the same each time."""
        return dataclasses.replace(super().source(), dataset="", make=self._make, check=None)

    def model(self, info: DataInfo) -> keras.Model:
        """A network of `image_classification`, for as many classes as there are."""
        labelled = dataclasses.replace(info, num_classes={"label": CLASSES})
        return super().model(labelled)

    def _make(self, split: str) -> Features:
        rng = np.random.default_rng(len(split))
        number = self.options.examples if split == "train" else 32
        label = rng.integers(0, CLASSES, number)
        image = rng.uniform(0.0, 0.7, (number, 4, 4, 1)).astype(np.float32)
        image[np.arange(number), 3 * (label // 2), 3 * (label % 2)] = 1.0
        if split == "train":
            wrong = rng.uniform(size=number) < self.options.noise
            label = np.where(wrong, rng.integers(0, CLASSES, number), label)
            if self.options.bad_pixel >= 0:
                image[self.options.bad_pixel] = np.inf
        return {"image": image, "label": label}
