"""Distributed TensorFlow training that equals `model.fit()` where fit is right.

From Python and notebooks: `trainer.train(trainer.configure(task="image_classification"))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainer.config import Config, configure

if TYPE_CHECKING:
    from trainer.modes.evaluate import Evaluated
    from trainer.modes.export import Exported
    from trainer.modes.train import Result

__all__ = ["Config", "configure", "evaluate", "export", "predict", "train"]


def train(config: Config, callbacks: Sequence[Any] = ()) -> Result:
    """Trains as the command line would. See `trainer.modes.train.train`."""
    from trainer import environment

    environment.settle()
    from trainer.modes.train import train as run

    return run(config, callbacks)


def evaluate(config: Config) -> Evaluated:
    """Evaluates a checkpoint. See `trainer.modes.evaluate.evaluate`."""
    from trainer import environment

    environment.settle()
    from trainer.modes.evaluate import evaluate as run

    return run(config)


def predict(config: Config) -> dict[str, Any]:
    """Predicts what `input` names. See `trainer.modes.predict.predict`."""
    from trainer import environment

    environment.settle()
    from trainer.modes.predict import predict as run

    return run(config)


def export(config: Config) -> Exported:
    """Exports a checkpoint's model. See `trainer.modes.export.export`."""
    from trainer import environment

    environment.settle()
    from trainer.modes.export import export as run

    return run(config)
