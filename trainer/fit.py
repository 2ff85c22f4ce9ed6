"""The baseline: `model.fit()` on the same task, data, order, state, strategy and callbacks."""

from __future__ import annotations

import time

import keras

from trainer.assembly import Parts
from trainer.errors import BadInput
from trainer.meters import Meters
from trainer.task import Task


def train(
    parts: Parts, callbacks: list[keras.callbacks.Callback], meters: Meters
) -> dict[str, float]:
    """Trains from the epoch at which the state stands to the end of the run.

    Args:
        parts: What to train, on what. The model must be compiled (see `compile_model`).
        callbacks: Called by Keras.
        meters: Told how fast it goes.

    Returns:
        The last epoch's logs; empty where there was nothing left to train.
    """
    state, schedule = parts.state, parts.schedule
    if state.stopped or state.epoch >= parts.epochs:
        hooks = keras.callbacks.CallbackList(callbacks, model=state.model, epochs=parts.epochs)
        hooks.on_train_begin()
        for name, variables in parts.task.objectives(state.model).items():
            state.optimizers[name].finalize_variable_values(variables)
        hooks.on_train_end({})
        return {}
    history = state.model.fit(
        parts.training_data(single=True),
        epochs=parts.epochs,
        initial_epoch=state.epoch,
        steps_per_epoch=schedule.steps_per_epoch,
        validation_data=parts.validation_data(single=True) if parts.eval_plan else None,
        validation_steps=parts.eval_plan.steps_per_pass if parts.eval_plan else None,
        validation_freq=parts.config.loop.eval_every_epochs,
        callbacks=[Bookkeeping(parts, meters), *callbacks],
        verbose=0,
    )
    return {name: values[-1] for name, values in history.history.items()}


def compile_model(parts: Parts) -> None:
    """Compiles the model with the run's loss, metrics and optimizer.

    The tape loop does without, but callbacks look at `model.optimizer`, and a saved model keeps
    what it was trained with. Keras has no compiled form for several losses with optimizers of their
    own: a model with a `train_step` for them gets all optimizers, by objective.
    """
    if len(parts.state.optimizers) > 1 and _has_own_step(parts):
        with parts.strategy.scope():
            parts.state.model.compile(
                parts.state.optimizers,
                steps_per_execution=steps_per_execution(parts),
                jit_compile=parts.config.step.jit_compile == "true",
            )
        return
    reductions = {"elements": "sum_over_batch_size", "weighted_mean": "mean_with_sample_weight"}
    with parts.strategy.scope():
        loss = None
        if type(parts.task).loss is not Task.loss:  # else its forward pass has losses of its own
            elementwise = parts.task.loss()
            settings = elementwise.get_config()
            settings["reduction"] = reductions[parts.config.step.weight_reduction]
            loss = type(elementwise).from_config(settings)
        parts.state.model.compile(
            optimizer=next(iter(parts.state.optimizers.values())),
            loss=loss,
            metrics=parts.measures.metrics,
            steps_per_execution=steps_per_execution(parts),
            jit_compile=parts.config.step.jit_compile == "true",
            auto_scale_loss=parts.config.run.loop == "fit",
        )
        if parts.config.run.loop == "tape" and parts.measures.metrics:
            # fit does so at its first batch: callbacks ask them whether larger is better
            parts.state.model._compile_metrics.build(None, 0)


def _has_own_step(parts: Parts) -> bool:
    return type(parts.state.model).train_step is not keras.Model.train_step


def steps_per_execution(parts: Parts) -> int:
    """The largest divisor of an epoch within `--steps_per_loop`.

    On data without end, fit would run past the epoch with any other.
    """
    steps, most = parts.schedule.steps_per_epoch, parts.schedule.steps_per_loop
    if parts.eval_plan:
        most = min(most, parts.eval_plan.steps_per_pass)
    both = [steps, parts.eval_plan.steps_per_pass] if parts.eval_plan else [steps]
    return max(n for n in range(1, most + 1) if all(number % n == 0 for number in both))


class Bookkeeping(keras.callbacks.Callback):
    """Keeps the state's step and the meters as the tape loop does.

    Args:
        parts: What is trained.
        meters: Told how fast it goes.
    """

    def __init__(self, parts: Parts, meters: Meters) -> None:
        super().__init__()
        self.parts, self.meters = parts, meters
        self.epoch = 0
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Which epoch it is."""
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The clock starts."""
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the steps that one execution held."""
        state, plan = self.parts.state, self.parts.plan
        seconds, before = time.perf_counter() - self.began, state.step
        state.step = self.epoch * self.parts.schedule.steps_per_epoch + batch + 1
        self.meters.step_seconds = seconds / (state.step - before)
        self.meters.examples_per_second = plan.examples(before, state.step) / seconds


def refuse_what_fit_cannot(parts: Parts) -> None:
    """Raises `BadInput` for what only devices, data or checkpoint show, before training begins."""
    schedule, replicas, state = parts.schedule, parts.strategy.num_replicas_in_sync, parts.state
    if parts.config.step.precision == "mixed_float16" and replicas > 1:
        raise BadInput(
            "--precision=mixed_float16 with --loop=fit on several replicas: Keras looks for "
            "overflow on the first replica alone; use --loop=tape, or one replica."
        )
    if parts.config.step.precision == "mixed_float16" and state.step and not state.stopped:
        raise BadInput(
            "--precision=mixed_float16 with --loop=fit cannot go on where --workdir="
            f"{parts.config.run.workdir} stands: Keras's loss scale is in no checkpoint; use "
            "--loop=tape, or --overwrite to begin anew."
        )
    if len(state.optimizers) > 1:
        _refuse_of_several_objectives(parts)
    if schedule.train_steps % schedule.steps_per_epoch:
        raise BadInput(
            f"--train_steps={schedule.train_steps} is no multiple of the "
            f"{schedule.steps_per_epoch} steps an epoch has, which --loop=fit needs; choose one, "
            "or use --loop=tape."
        )
    if not state.stopped and state.step != state.epoch * schedule.steps_per_epoch:
        raise BadInput(
            f"--loop=fit goes on at the start of an epoch only, and --workdir="
            f"{parts.config.run.workdir} stands at step {state.step}, within one; use --loop=tape."
        )


def _refuse_of_several_objectives(parts: Parts) -> None:
    config = parts.config
    for wrong, why in (
        (not _has_own_step(parts), "its model has no train_step for them, as Keras wants it"),
        (
            config.step.precision == "mixed_float16",
            f"--precision={config.step.precision} scales the loss of Keras's one optimizer alone",
        ),
        (
            config.optimizer.ema_momentum,
            f"--ema_momentum={config.optimizer.ema_momentum} ends with Keras's one optimizer alone",
        ),
    ):
        if wrong:
            raise BadInput(
                f"--loop=fit: --task={config.run.task} has several objectives, and {why}; "
                "use --loop=tape."
            )
