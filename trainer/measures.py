"""Loss and metrics as sums that travel with the gradients.

A metric that updates its variables on each step costs as much as the step of a small network. Here
its update is taken from zero as plain tensors, packed into the one all-reduce, and added up: on the
device within a call, in float64 on the host from call to call.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import BadInput
from trainer.task import Outcome


class Measures:
    """The loss of each objective and the task's metrics, under Keras's names.

    Args:
        metrics: The metrics, built or not.
        objectives: Names of the objectives; the first one's loss is called `loss`.
    """

    def __init__(self, metrics: Sequence[keras.metrics.Metric], objectives: Sequence[str]) -> None:
        for metric in metrics:
            if type(metric).reset_state is not keras.metrics.Metric.reset_state and any(
                np.any(v.numpy()) for v in metric.variables
            ):
                raise BadInput(
                    f"Metric {metric.name} does not begin at zero, so it cannot be added up over "
                    "replicas; give a metric that does."
                )
        self.metrics = list(metrics)
        self.objectives = list(objectives)
        self._totals: np.ndarray | None = None

    def sums(
        self, outcome: Outcome, totals: Sequence[tf.Tensor], numbers: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """One replica's contribution of one batch, float32 `[size]`. Replica context.

        Args:
            outcome: Of the forward pass.
            totals: Each objective's summed loss, with its share of `model.losses`.
            numbers: What each is to be divided by.
        """
        parts = [tf.stack([*totals, *numbers])]
        mask = next(iter(outcome.losses.values())).mask
        for metric in self.metrics:
            zeros = [tf.zeros(v.shape, v.dtype) for v in metric.variables]
            state = metric.stateless_update_state(
                zeros, outcome.y, outcome.prediction, sample_weight=mask
            )
            parts += [tf.reshape(tf.cast(s, tf.float32), [-1]) for s in state]
        return tf.concat(parts, 0)

    @property
    def size(self) -> int:
        """Length of the vector that `sums` gives."""
        own = sum(int(np.prod(v.shape)) for m in self.metrics for v in m.variables)
        return 2 * len(self.objectives) + own

    @property
    def totals(self) -> np.ndarray:
        """What was added up since `reset`, float64 `[size]`; part of a checkpoint."""
        if self._totals is None:
            self._totals = np.zeros(self.size, np.float64)
        return self._totals

    def reset(self, totals: np.ndarray | None = None) -> None:
        """Begins anew, or from the totals that a checkpoint held."""
        self._totals = np.zeros(self.size, np.float64) if totals is None else totals.copy()

    def add(self, sums: np.ndarray) -> None:
        """Adds what a call on the device returned."""
        self._totals = self.totals + np.asarray(sums, np.float64)

    def results(self) -> dict[str, float]:
        """Name to value, of all that was added up."""
        n, totals = len(self.objectives), self.totals
        with np.errstate(invalid="ignore", divide="ignore"):
            means = totals[:n] / totals[n : 2 * n]
        names = ["loss", *self.objectives[1:]]
        logs = {name: float(mean) for name, mean in zip(names, means, strict=True)}
        position = 2 * n
        for metric in self.metrics:
            state = []
            for variable in metric.variables:
                length = int(np.prod(variable.shape))
                part = totals[position : position + length].reshape(variable.shape)
                state.append(tf.constant(part, variable.dtype))
                position += length
            result = metric.stateless_result(state)
            named = result if isinstance(result, dict) else {metric.name: result}
            logs |= {name: float(value) for name, value in named.items()}
        return logs
