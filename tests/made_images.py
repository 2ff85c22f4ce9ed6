"""Made-up data of the shape that a config's dataset has: `--task=tests.made_images`.

For configs whose data is not at hand: any flagfile of `image_classification` starts on it.
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

# Dataset to the shape of an image and the number of classes; those of ImageNet differ in size.
SHAPES = {
    "cifar10": ((32, 32, 3), 10),
    "imagenet2012": ((72, 80, 3), 1000),
    "tf_flowers": ((72, 80, 3), 5),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(image_classification.Options):
    """Made-up images"""

    examples: int = option(24, "training examples", minimum=1)


class Task(image_classification.Task):
    """Noise, brighter the higher the class."""

    options: Options

    def source(self) -> Source:
        """Made here, and the same each time."""
        return dataclasses.replace(super().source(), dataset="", make=self._make, check=None)

    def model(self, info: DataInfo) -> keras.Model:
        """For the classes of the dataset."""
        classes = {"label": SHAPES[self.options.dataset][1]}
        return super().model(dataclasses.replace(info, num_classes=classes))

    def _make(self, split: str) -> Features:
        shape, classes = SHAPES[self.options.dataset]
        rng = np.random.default_rng(len(split))
        number = self.options.examples if split.startswith("train") else 10
        label = rng.integers(0, classes, number)
        image = rng.integers(0, 128, (number, *shape)) + 127 * label[:, None, None, None] // classes
        return {"image": image.astype(np.uint8), "label": label}
