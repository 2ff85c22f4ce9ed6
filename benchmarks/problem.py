"""The problem that is timed: image classification on made-up images of MNIST's shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trainer.source import DataInfo, Source
from trainer.tasks import image_classification


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(image_classification.Options):
    """Benchmark"""


class Task(image_classification.Task):
    """60,000 images of noise: speed does not depend on what they show."""

    def source(self) -> Source:
        """Made in memory, nothing to prepare."""
        return dataclasses.replace(super().source(), dataset="", make=_images, check=None)

    def model(self, info: DataInfo) -> Any:
        """As for MNIST."""
        return super().model(dataclasses.replace(info, num_classes={"label": 10}))


def _images(split: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    return {"image": images, "label": random.integers(0, 10, 60_000)}
