"""Distributed TensorFlow training that equals `model.fit()` where fit is right.

From Python and notebooks: `trainer.train(trainer.configure(task="image_classification"))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainer.config import Config, configure

if TYPE_CHECKING:
    from trainer.modes.train import Result

__all__ = ["Config", "configure", "train"]


def train(config: Config, callbacks: Sequence[Any] = ()) -> Result:
    """Trains as the command line would. See `trainer.modes.train.train`."""
    from trainer import environment

    environment.settle()
    from trainer.modes.train import train as run

    return run(config, callbacks)
