"""One optimizer update on one global batch: sums, one reduction, one decision, one update.

The training tape of the project stands here alone.
"""

# Over 250 lines: what a step does is read from top to bottom, its docstrings are half of it.

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer import reduction
from trainer.config import Step
from trainer.data.plan import cut
from trainer.errors import BadInput
from trainer.measures import Measures
from trainer.state import TrainState
from trainer.task import Task

log = logging.getLogger("trainer")


class Ledger(NamedTuple):
    """What the loop carries from step to step on the device. All scalars but `sums`.

    Attributes:
        done: int32, steps consumed in this call.
        sums: float32 `[n]`, what `Measures` adds up, of the applied steps.
        loss_scale: float32, 1 without float16.
        good_steps: int32, finite steps since the loss scale last changed.
        skipped: int32, steps of this call that were not finite.
        halted: bool, the last step was not finite and the policy is to halt.
        grad_norm: float32, global norm of the last reduced gradient before clipping, over all
            objectives.
        waited: float64, seconds spent waiting for input.
    """

    done: tf.Tensor
    sums: tf.Tensor
    loss_scale: tf.Tensor
    good_steps: tf.Tensor
    skipped: tf.Tensor
    halted: tf.Tensor
    grad_norm: tf.Tensor
    waited: tf.Tensor


@dataclasses.dataclass
class Trained:
    """One objective: what its loss trains, and with what.

    Attributes:
        name: Its name among the task's objectives.
        variables: The variables that its loss reaches.
        optimizer: Its optimizer, which sums nothing over replicas.
        elements: Elements of a full batch on one replica, known once the step is traced.
    """

    name: str
    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    elements: float = 0.0

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> list[tf.Tensor]:
        """Dense gradients; variables that the loss does not reach leave the objective."""
        variables = list(self.variables)
        found = tape.gradient(loss, [v.value for v in variables])
        lost = [v.path for v, g in zip(variables, found, strict=True) if g is None]
        if len(lost) == len(variables):
            raise BadInput(
                f"The loss {self.name!r} reaches none of its {len(lost)} variables: no gradient "
                "flows; compute it from the model's output with TensorFlow operations alone."
            )
        if lost:
            log.warning("The loss %r does not reach %s: left as they are.", self.name, lost)
            self.variables = [v for v in variables if v.path not in lost]
        return reduction.dense([g for g in found if g is not None])


class TrainStep:
    """The step of one task on one state. Called in cross-replica context, in a `tf.function`.

    Args:
        task: The problem.
        state: What is trained.
        measures: The loss and metrics to add up.
        strategy: The replicas.
        config: Precision, clipping, accumulation and policy.
        per_replica_batch_size: Examples of a full batch on one replica: the constant by which
            losses are divided before the backward pass, so that float16 sums do not overflow.
        compiled: What XLA compiles: `false` nothing, `update` the optimizer's update, `true` the
            whole step on one replica; on several, where a `strategy.run` cannot be compiled, the
            forward and backward pass and the update, each by itself.
    """

    def __init__(
        self,
        task: Task,
        state: TrainState,
        measures: Measures,
        strategy: tf.distribute.Strategy,
        config: Step,
        per_replica_batch_size: int,
        compiled: str,
    ) -> None:
        self.task, self.state, self.measures = task, state, measures
        self.strategy, self.config = strategy, config
        self.objectives = [
            Trained(name, list(variables), state.optimizers[name])
            for name, variables in task.objectives(state.model).items()
        ]
        for objective in self.objectives:
            mark_reduced(objective.optimizer)
        self.per_replica_batch_size = per_replica_batch_size
        self.half = config.precision == "mixed_float16"
        whole = compiled == "true" and strategy.num_replicas_in_sync == 1
        parts = compiled == "true" and not whole
        if parts and any(getattr(layer, "synchronized", False) for layer in state.layers):
            raise BadInput(
                "--jit_compile=true on several replicas cannot hold synchronised "
                "BatchNormalization; use --jit_compile=update, or --keras_semantics."
            )
        self._whole = _xla(self._step) if whole else self._step
        self._sums = _xla(self._local_sums) if parts else self._local_sums
        self._update = _xla(self._local_update) if parts or compiled == "update" else None

    def __call__(self, batch: Any, ledger: Ledger) -> Ledger:
        """Trains on one global batch.

        Args:
            batch: Per-replica `(weight, batch)`: what each example counts, float32 scalar, and
                tensors `[b, ...]` as the task's `forward` takes them.
            ledger: As the step before left it.
        """
        return self._whole(batch, ledger)

    def ledger(self, loss_scale: tf.Tensor, good_steps: tf.Tensor) -> Ledger:
        """An empty ledger, for the beginning of a call."""
        return Ledger(
            done=tf.constant(0),
            sums=tf.zeros([self.measures.size]),
            loss_scale=loss_scale,
            good_steps=good_steps,
            skipped=tf.constant(0),
            halted=tf.constant(False),
            grad_norm=tf.constant(0.0),
            waited=tf.constant(0.0, tf.float64),
        )

    def _step(self, batch: Any, ledger: Ledger) -> Ledger:
        run, first = self.strategy.run, self.first
        gradients, extra, kept = run(self._reduced, (batch, ledger.loss_scale))
        numbers, sums = first(extra)[: len(gradients)], first(extra)[len(gradients) :]

        factors, norms = [], []
        for i, (objective, own) in enumerate(zip(self.objectives, gradients, strict=True)):
            # local losses were divided by the static number and multiplied by the loss scale
            factor = tf.math.divide_no_nan(objective.elements, numbers[i]) / ledger.loss_scale
            norm = tf.linalg.global_norm([first(g) for g in own]) * factor
            factors.append(factor * reduction.clip_factor(norm, self.config.clip_norm))
            norms.append(norm)
        norm = norms[0] if len(norms) == 1 else tf.linalg.global_norm(norms)
        finite = tf.math.is_finite(norm)

        def apply() -> tf.Tensor:
            run(self._apply, (gradients, factors))
            return sums

        def skip() -> tf.Tensor:
            run(self._put_back, (kept,))
            return tf.zeros_like(sums)

        added = tf.cond(finite, apply, skip)
        loss_scale, good_steps = self._next_scale(ledger, finite)
        return Ledger(
            done=ledger.done + 1,
            sums=ledger.sums + added,
            loss_scale=loss_scale,
            good_steps=good_steps,
            skipped=ledger.skipped + tf.cast(~finite, tf.int32),
            halted=~finite & self._hopeless(ledger.loss_scale),
            grad_norm=norm,
            waited=ledger.waited,
        )

    def _reduced(self, batch: Any, loss_scale: tf.Tensor) -> tuple[Any, tf.Tensor, list[Any]]:
        """Replica context: reduced gradients, reduced numbers and sums, statistics to put back."""
        kept = [tf.identity(v.value) for v in self.state.statistics]
        gradients, numbers, sums = self._sums(batch, loss_scale)
        extra = tf.concat([numbers, sums], 0)
        *flat, extra = reduction.all_reduce([*tf.nest.flatten(gradients), extra])
        return tf.nest.pack_sequence_as(gradients, flat), extra, kept

    def _local_sums(
        self, batch: Any, loss_scale: tf.Tensor
    ) -> tuple[list[list[tf.Tensor]], tf.Tensor, tf.Tensor]:
        """Replica context: gradients, numbers and measures of this replica, added up."""
        weight, batch = batch
        number = self.config.accumulation_steps
        if number == 1:
            return self._micro_sums(batch, weight, loss_scale)
        size = tf.shape(tf.nest.flatten(batch)[0])[0]
        total = None
        for i in range(number):
            start, stop, share = cut(size, i, number)
            # one micro-batch at a time: without this they would all be in memory at once
            with tf.control_dependencies(tf.nest.flatten(total) if total else []):
                part = tf.nest.map_structure(lambda t, a=start, b=stop: t[a:b], batch)
            own = self._micro_sums(part, weight * share, loss_scale)
            total = tf.nest.map_structure(tf.add, total, own) if total else own
        assert total is not None
        return total

    def _micro_sums(
        self, batch: Any, weight: tf.Tensor, loss_scale: tf.Tensor
    ) -> tuple[list[list[tf.Tensor]], tf.Tensor, tf.Tensor]:
        model = self.state.model
        with contextlib.ExitStack() as stack:
            tapes = [stack.enter_context(tf.GradientTape()) for _ in self.objectives]
            outcome = self.task.forward(model, batch, training=True)
            totals, numbers = reduction.objective_sums(
                outcome,
                [objective.name for objective in self.objectives],
                model.losses,
                self.config.weight_reduction == "weighted_mean",
            )
            losses = []
            for objective, total in zip(self.objectives, totals, strict=True):
                # [b] or [b, t]; the same constant on every replica
                length = outcome.losses[objective.name].values.shape[1:].num_elements() or 1
                objective.elements = float(self.per_replica_batch_size * length)
                losses.append(total / objective.elements * (weight * loss_scale))
        gradients = [
            objective.gradients(tape, loss)
            for objective, tape, loss in zip(self.objectives, tapes, losses, strict=True)
        ]
        sums = self.measures.sums(outcome, totals, numbers)
        return gradients, tf.stack(numbers) * weight, sums * weight

    def _apply(self, gradients: Sequence[Sequence[Any]], factors: Sequence[tf.Tensor]) -> None:
        """Replica context."""
        if self._update is None:
            for objective, own, factor in zip(self.objectives, gradients, factors, strict=True):
                objective.optimizer.apply([g * factor for g in own], objective.variables)
            return
        with _local_updates(self.strategy):
            self._update(gradients, factors)
        for objective in self.objectives:
            objective.optimizer.iterations.assign_add(1)

    def _local_update(
        self, gradients: Sequence[Sequence[Any]], factors: Sequence[tf.Tensor]
    ) -> None:
        """What `optimizer.apply` does on one replica, but for the iterations."""
        for objective, own, factor in zip(self.objectives, gradients, factors, strict=True):
            scaled = [g * factor for g in own]
            objective.optimizer._backend_apply_gradients(scaled, objective.variables)
            for variable in objective.variables:
                if variable.constraint is not None:
                    variable.assign(variable.constraint(variable))

    def _put_back(self, kept: Sequence[tf.Tensor]) -> None:
        """Replica context: undoes what the forward pass wrote into BatchNorm's statistics."""
        for variable, value in zip(self.state.statistics, kept, strict=True):
            variable.assign(value)

    def _hopeless(self, loss_scale: tf.Tensor) -> tf.Tensor:
        """Whether a step that is not finite ends the run."""
        policy = self.config.on_nonfinite
        if policy == "auto" and self.half:
            return loss_scale <= 1.0  # no smaller scale can mend it
        return tf.constant(policy != "skip")

    def _next_scale(self, ledger: Ledger, finite: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Halved by a step that is not finite, doubled after enough that are.

        References:
            Micikevicius et al.: Mixed precision training, 2018, section 3.2.
        """
        if not self.half:
            return ledger.loss_scale, ledger.good_steps
        good = tf.where(finite, ledger.good_steps + 1, 0)
        grow = good >= self.config.loss_scale_growth_steps
        grown = tf.minimum(ledger.loss_scale * 2.0, 2.0**24)
        scale = tf.where(grow, grown, ledger.loss_scale)
        scale = tf.where(finite, scale, tf.maximum(ledger.loss_scale / 2.0, 1.0))
        return scale, tf.where(grow, 0, good)

    def first(self, value: Any) -> Any:
        """One replica's copy of a value that all have alike."""
        return self.strategy.experimental_local_results(value)[0]


def _xla(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)


@contextlib.contextmanager
def _local_updates(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Each replica updates its own copies, all alike, instead of meeting the others to do so.

    A meeting (`merge_call`) cannot stand inside a function that XLA compiles. TensorFlow leaves
    it out by this same switch under XLA on GPUs; its own tests set it as is done here.
    """
    strategy.extended._use_merge_call = lambda: False
    try:
        yield
    finally:
        del strategy.extended._use_merge_call


def mark_reduced(optimizer: keras.optimizers.Optimizer) -> None:
    """Tells an optimizer that its gradients are summed over the replicas already.

    `optimizer.apply` would sum once more. This is set on the instance: a `.keras` file saved with
    a subclass would not load elsewhere.
    """
    if not hasattr(optimizer, "_all_reduce_sum_gradients"):
        raise RuntimeError(
            f"Keras {keras.__version__} has no _all_reduce_sum_gradients any more: gradients would "
            "be summed twice. Install the Keras of constraints.txt."
        )
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
