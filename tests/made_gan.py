"""The `gan` task with few points: `--task=tests.made_gan`. Some may be infinite, and it says more.

Its last layer's bias is shown as a number and as text, so that a test can tell whose weights the
task was shown.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from trainer.options import option
from trainer.source import Source
from trainer.task import Shown
from trainer.tasks import gan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(gan.Options):
    """Few points"""

    width: int = option(8, "hidden units", minimum=1)
    latents: int = option(3, "numbers that a point is made from", minimum=1)
    examples: int = option(48, "training examples", minimum=1)
    planted: tuple[int, ...] = option((), "rows of infinite real points", items=int)


class Task(gan.Task):
    """Some of the ring's points."""

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.shown_numbers += ("bias",)

    def source(self) -> Source:
        return dataclasses.replace(super().source(), make=self._make)

    def show(self, model: keras.Model, seed: int) -> Shown:
        shown = super().show(model, seed)
        bias = float(model.generator.weights[-1].numpy()[0])
        return dataclasses.replace(
            shown, numbers={**shown.numbers, "bias": bias}, text={"bias": f"It is\n{bias}."}
        )

    def _make(self, split: str) -> dict[str, Any]:
        points = gan.ring(split)["point"][: self.options.examples if split == "train" else 32]
        if split == "train":
            points[list(self.options.planted)] = float("inf")
        return {"point": points}
