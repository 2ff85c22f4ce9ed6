"""A trained model as a checkpoint of its run has it: what is needed to use it, and no more."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainer.callbacks.averages import EvaluateAverages
from trainer.checkpoint import Checkpoints, Saved
from trainer.config import Config, task_module
from trainer.optimizer import make_optimizer
from trainer.options import MOST_INT
from trainer.recorded import no_record, record_of
from trainer.source import DataInfo, Source
from trainer.state import TrainState, make_state, synchronize_batch_norm
from trainer.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """A model, ready to be used.

    Attributes:
        info: Of the data that it was trained on.
        state: The model, with the averaged weights under `--ema_momentum`.
        saved: Where its weights are from.
        name: The same in words.
    """

    task: Task
    source: Source
    info: DataInfo
    state: TrainState
    saved: Saved
    name: str

    @property
    def model(self) -> keras.Model:
        """The part of it that is exported and predicts."""
        return self.task.served(self.state.model)


def restore(config: Config, strategy: tf.distribute.Strategy) -> Restored:
    """Builds the model without data, and gives it the weights that `--checkpoint` names.

    Takes no lock and writes nothing: the run may go on meanwhile.

    Raises:
        BadInput: There is no such run or checkpoint, or it is of another model.
    """
    info = _info(config)
    task: Task = task_module(config.run.task).Task(config.task_options)
    averaged = config.optimizer.ema_momentum > 0
    with strategy.scope():
        model = task.model(info)
        if not config.step.keras_semantics:
            synchronize_batch_norm(model)
        objectives = task.objectives(model) if averaged else {}
        # the averages are the optimizers'; where a cosine ends is all the same, nothing is trained
        optimizers = {name: make_optimizer(config.optimizer, MOST_INT) for name in objectives}
        state = make_state(model, optimizers, objectives, loss_scale=1.0)
    checkpoints = Checkpoints(Path(config.run.workdir).expanduser(), state, config.checkpoint)
    saved = checkpoints.read(config.trained.checkpoint)
    EvaluateAverages(optimizers.values()).on_test_begin()
    best = f", the best ({config.checkpoint.best_metric})" if checkpoints.is_best(saved) else ""
    return Restored(
        task=task,
        source=task.source(),
        info=info,
        state=state,
        saved=saved,
        name=f"{saved.folder.name}{best}",
    )


def _info(config: Config) -> DataInfo:
    """What the model was shaped by, as the run's record has it."""
    record = record_of(config)
    try:
        data: dict[str, Any] = json.loads(record.read_text())["data"]
        shapes = {name: tuple(shape) for name, shape in data["shapes"].items()}
        names = {name: tuple(classes) for name, classes in data["class_names"].items()}
        return DataInfo(
            name=data["name"],
            shapes=shapes,
            num_classes=data["num_classes"],
            class_names=names,
        )
    except (OSError, ValueError, KeyError):
        raise no_record(config) from None
