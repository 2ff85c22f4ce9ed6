"""The tape loop: many steps in one call on the device, Keras's callbacks between calls."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer import reduction
from trainer.assembly import EvalParts, Parts
from trainer.errors import Halted
from trainer.meters import Meters
from trainer.step import Ledger, TrainStep


def train(
    parts: Parts, callbacks: list[keras.callbacks.Callback], meters: Meters, compiled: str
) -> dict[str, float]:
    """Trains from where the state stands to the end of the run, as `model.fit()` would.

    Args:
        parts: What to train, on what.
        callbacks: Called in the order and with the logs of `model.fit()`; a call on the device
            counts as one batch, as it does there with `steps_per_execution`.
        meters: Told what each call measured.
        compiled: What XLA compiles of the step, as `TrainStep` takes it.

    Returns:
        The last epoch's logs; empty where there was nothing left to train.

    Raises:
        Halted: A step was not finite and the policy is to halt.
    """
    state, schedule, measures = parts.state, parts.schedule, parts.measures
    model = state.model
    call = TrainCall(parts, meters, compiled)
    evaluation = Evaluation(parts) if parts.eval_plan else None
    hooks = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=parts.epochs, steps=schedule.steps_per_epoch, verbose=0
    )
    logs: dict[str, float] = {}
    begun = state.epoch_totals  # of the epoch in which an earlier start was cut off
    model.stop_training = False
    hooks.on_train_begin()
    for epoch in range(state.epoch, parts.epochs):
        if state.stopped:
            break
        first = epoch * schedule.steps_per_epoch
        end = min(first + schedule.steps_per_epoch, schedule.train_steps)
        measures.reset(begun)
        begun = None
        hooks.on_epoch_begin(epoch)
        while state.step < end and not model.stop_training:
            hooks.on_train_batch_begin(state.step - first)
            call(schedule.to_boundary(state.step))
            hooks.on_train_batch_end(state.step - first - 1, measures.results())
        logs = measures.results()
        if evaluation and (epoch + 1) % parts.config.loop.eval_every_epochs == 0:
            logs |= {f"val_{name}": value for name, value in evaluation(hooks).items()}
        hooks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    for name, variables in parts.task.objectives(model).items():
        if int(keras.ops.convert_to_numpy(state.optimizers[name].iterations)):
            state.optimizers[name].finalize_variable_values(variables)  # the EMA, as fit does
    hooks.on_train_end(logs)
    return logs


class TrainCall:
    """Runs steps on the device and keeps the host's account of them.

    Args:
        parts: What to train, on what.
        meters: Told what each call measured.
        compiled: What XLA compiles of the step, as `TrainStep` takes it.
    """

    def __init__(self, parts: Parts, meters: Meters, compiled: str) -> None:
        self.parts, self.meters = parts, meters
        self.step = TrainStep(
            parts.task, parts.state, parts.measures, parts.strategy, parts.config.step,
            parts.per_replica_batch_size, compiled,
        )  # fmt: skip
        self.iterator = iter(parts.training_data())
        self.function = tf.function(self._steps, autograph=False)

    def __call__(self, num_steps: int) -> None:
        """Trains `num_steps` steps; the state, the measures and the meters say what came of it.

        Raises:
            Halted: A step was not finite and the policy is to halt.
        """
        state, began = self.parts.state, time.perf_counter()
        ledger = self.function(
            self.iterator,
            tf.constant(num_steps),
            tf.constant(state.loss_scale, tf.float32),
            tf.constant(state.good_steps),
        )
        result = tf.nest.map_structure(np.asarray, ledger)  # waits for the device
        seconds = time.perf_counter() - began
        self._refuse_second_trace()
        first_step, done = state.step, int(result.done)
        self.parts.measures.add(result.sums)
        state.step += done
        state.loss_scale, state.good_steps = float(result.loss_scale), int(result.good_steps)
        state.skipped += int(result.skipped)
        state.epoch_totals = self.parts.measures.totals
        examples = self.parts.plan.examples(first_step, state.step)
        meters = self.meters
        meters.step_seconds, meters.examples_per_second = seconds / done, examples / seconds
        if not self.parts.config.runtime.deterministic:
            meters.input_wait_share = min(1.0, float(result.waited) / seconds)
        meters.grad_norm = float(result.grad_norm)
        meters.loss_scale = state.loss_scale if self.step.half else None
        meters.skipped = state.skipped
        if result.halted:
            raise Halted(_halted(self.parts, state.step - 1, meters.grad_norm))

    def _steps(
        self,
        iterator: Any,
        num_steps: tf.Tensor,
        loss_scale: tf.Tensor,
        good_steps: tf.Tensor,
    ) -> Ledger:
        """On the device. `num_steps` is a tensor: a Python number would be traced each time."""
        start = self.step.ledger(loss_scale, good_steps)

        def unfinished(*fields: Any) -> tf.Tensor:
            ledger = Ledger(*fields)
            return (ledger.done < num_steps) & ~ledger.halted

        return tf.while_loop(unfinished, lambda *f: self._block(iterator, Ledger(*f)), start)

    def _block(self, iterator: Any, ledger: Ledger) -> Ledger:
        """The steps of the iterator's next element."""
        with tf.control_dependencies([ledger.done]):
            began = self._now()
        with tf.control_dependencies([began]):
            batches = next(iterator)
        head = self.step.first(batches[0])
        with tf.control_dependencies([head]):
            waited = self._now() - began
        count = tf.size(head)

        def unfinished(i: tf.Tensor, *fields: Any) -> tf.Tensor:
            return (i < count) & ~Ledger(*fields).halted

        def step(i: tf.Tensor, *fields: Any) -> tuple[Any, ...]:
            batch = self.parts.strategy.run(
                lambda b: tf.nest.map_structure(lambda t: t[i], b), (batches,)
            )
            return (i + 1, *self.step(batch, Ledger(*fields)))

        ledger = ledger._replace(waited=ledger.waited + waited)
        return Ledger(*tf.while_loop(unfinished, step, (tf.constant(0), *ledger))[1:])

    def _now(self) -> tf.Tensor:
        """Seconds; with --deterministic none pass, as TensorFlow refuses a clock then."""
        fixed = self.parts.config.runtime.deterministic
        return tf.constant(0.0, tf.float64) if fixed else tf.timestamp()

    def _refuse_second_trace(self) -> None:
        traces = self.function.experimental_get_tracing_count()
        if traces > 1:
            shapes = tf.nest.map_structure(lambda s: str(s), self.iterator.element_spec)
            raise RuntimeError(
                f"The training step was traced {traces} times, which costs seconds each time; the "
                f"input's shapes are {shapes}. Every dimension but the batch must be fixed."
            )


def _halted(parts: Parts, step: int, norm: float) -> str:
    epoch, position = divmod(step, parts.schedule.steps_per_epoch)
    return (
        f"step {step} (epoch {epoch}, batch {position}) has a gradient of norm {norm}; nothing was "
        "changed by it. Lower --learning_rate, set --clip_norm, look at the batch, or pass over "
        "such steps with --on_nonfinite=skip."
    )


class Evaluation:
    """The loss and metrics over the whole validation split, every example once.

    Args:
        parts: What to evaluate, on what.
    """

    def __init__(self, parts: EvalParts) -> None:
        self.parts = parts
        self.schedule = parts.eval_schedule
        self.iterator = iter(parts.validation_data())
        self.function = tf.function(self._steps, autograph=False)

    def __call__(self, hooks: keras.callbacks.CallbackList) -> dict[str, float]:
        """Runs `on_test_*` around it.

        Returns:
            Logs under Keras's names, without `val_`.
        """
        measures = type(self.parts.measures)(
            self.parts.measures.metrics, self.parts.measures.objectives
        )
        hooks.on_test_begin()
        step = 0
        while step < self.schedule.steps_per_epoch:
            steps = self.schedule.to_boundary(step)
            hooks.on_test_batch_begin(step)
            measures.add(self.function(self.iterator, tf.constant(steps)).numpy())
            step += steps
            hooks.on_test_batch_end(step - 1, measures.results())
        logs = measures.results()
        hooks.on_test_end(logs)
        return logs

    def _steps(self, iterator: Any, num_steps: tf.Tensor) -> tf.Tensor:
        strategy = self.parts.strategy

        def block(done: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batches = next(iterator)
            count = tf.size(strategy.experimental_local_results(batches[0])[0])

            def step(i: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                own = strategy.run(self._sums, (batches, i))
                return i + 1, sums + strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None)

            sums = tf.while_loop(lambda i, _: i < count, step, (tf.constant(0), sums))[1]
            return done + count, sums

        start = (tf.constant(0), tf.zeros([self.parts.measures.size]))
        return tf.while_loop(lambda done, _: done < num_steps, block, start)[1]

    def _sums(self, batches: Any, i: tf.Tensor) -> tf.Tensor:
        """Replica context: one batch's sums."""
        parts, model = self.parts, self.parts.state.model
        batch = tf.nest.map_structure(lambda t: t[i], batches)
        weight, batch = batch
        outcome = parts.task.forward(model, batch, training=False)
        totals, numbers = reduction.objective_sums(
            outcome,
            parts.measures.objectives,
            model.losses,
            parts.config.step.weight_reduction == "weighted_mean",
        )
        return parts.measures.sums(outcome, totals, numbers) * weight
