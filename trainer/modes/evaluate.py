"""`--mode=evaluate`: the loss and metrics of a checkpoint on a split, every example once."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import keras

from trainer import errors, loop, runtime
from trainer.assembly import EvalParts, eval_plan
from trainer.config import Config
from trainer.data.load import load_for_evaluation
from trainer.measures import Measures
from trainer.restored import restore
from trainer.workdir import write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation measured.

    Attributes:
        metrics: Under Keras's names.
        split: The split, in the dataset's notation.
        examples: In the split.
        checkpoint: The folder that the weights are from.
        name: The same in words.
        step: Steps trained by then.
        data: The dataset's name, and a digest of the split.
        precision: Of the forward pass.
        replicas: On how many.
        averaged: Whether the weights are the moving average.
    """

    metrics: dict[str, float]
    split: str
    examples: int
    checkpoint: str
    name: str
    step: int
    data: dict[str, Any]
    precision: str
    replicas: int
    averaged: bool


def run(config: Config) -> int:
    """Evaluates, says what came of it, and keeps it in `<workdir>/evaluation-<split>.json`."""
    result = evaluate(config)
    print(summary(result), flush=True)
    path = (
        Path(config.run.workdir).expanduser() / f"evaluation-{result.split.replace('/', '_')}.json"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            path, {**dataclasses.asdict(result), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        )
    except OSError as error:
        raise errors.BadInput(
            f"--workdir={config.run.workdir} cannot be written to ({error.strerror}), so what was "
            "measured is not kept; choose a folder that can be."
        ) from None
    print(f"  record    {path}", flush=True)
    return errors.OK


def evaluate(config: Config) -> Evaluated:
    """Evaluates the checkpoint of `--checkpoint` on `--eval_split`.

    On the same split, replicas, batch size and precision this gives the `val_` metrics that
    training gave, to the bit.

    Args:
        config: That of the run, as in its `config.flags`.

    Raises:
        BadInput: There is no such checkpoint or split, or they do not fit.
    """
    split = config.trained.eval_split or config.data.validation_split
    if split == "none":
        raise errors.BadInput(
            "--mode=evaluate: the run has --validation_split=none; name a split with --eval_split."
        )
    strategy = runtime.set_up(config)
    restored = restore(config, strategy)
    data = load_for_evaluation(config.data, restored.source, split, restored.info)
    with strategy.scope():
        objectives = list(restored.task.objectives(restored.state.model))
        measures = Measures(restored.task.metrics(), objectives)
    parts = EvalParts(
        config=config,
        strategy=strategy,
        task=restored.task,
        source=restored.source,
        data=data,
        eval_plan=eval_plan(config, data),
        state=restored.state,
        measures=measures,
    )
    hooks = keras.callbacks.CallbackList(model=restored.state.model)
    assert parts.eval_plan is not None
    return Evaluated(
        metrics=loop.Evaluation(parts)(hooks),
        split=split,
        examples=parts.eval_plan.num_examples,
        checkpoint=str(restored.saved.folder),
        name=restored.name,
        step=restored.saved.step,
        data={"name": restored.info.name, "sha256": data.fingerprints()["validation"]},
        precision=config.step.precision,
        replicas=strategy.num_replicas_in_sync,
        averaged=bool(restored.state.optimizers),
    )


def summary(result: Evaluated) -> str:
    """What is said at the end."""
    averages = ", averaged weights" if result.averaged else ""
    replicas = f"{result.replicas} replica{'s' * (result.replicas > 1)}"
    width = max(map(len, result.metrics))
    return "\n".join([
        f"{result.examples:,} examples of {result.data['name']} {result.split}, "
        f"{result.precision} on {replicas}{averages}; checkpoint {result.name}:",
        *(f"  {name:{width}}  {value:.6g}" for name, value in result.metrics.items()),
    ])  # fmt: skip
