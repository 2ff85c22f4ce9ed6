"""Sums, reduced once over the replicas and divided once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from trainer.task import Outcome, PerExample


def weighted_sum(loss: PerExample, weighted_mean: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """One replica's sum of losses and the number that it is to be divided by.

    Args:
        loss: Elementwise losses with weights and mask.
        weighted_mean: Whether to count weights; else elements, as Keras does, or the valid ones
            under a mask.

    Returns:
        Two float32 scalars.
    """
    values = tf.cast(loss.values, tf.float32)
    counted = tf.ones_like(values)
    if loss.mask is not None:
        valid = _like(tf.cast(loss.mask, tf.float32), values)
        # where, not a product: a masked element may be infinite
        values = tf.where(valid > 0, values, 0.0)
        counted = counted * valid
    if loss.weights is not None:
        weights = _like(tf.cast(loss.weights, tf.float32), values)
        values = values * weights
        if weighted_mean:
            counted = counted * weights
    return tf.reduce_sum(values), tf.reduce_sum(counted)


def objective_sums(
    outcome: Outcome, objectives: Sequence[str], penalties: Sequence[Any], weighted_mean: bool
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Each objective's summed loss, and the number it is to be divided by, on one replica.

    Args:
        outcome: Of the forward pass.
        objectives: Their names.
        penalties: `model.losses`: regularisation, which counts once for each element.
        weighted_mean: As for `weighted_sum`.
    """
    totals, numbers = [], []
    for name in objectives:
        total, number = weighted_sum(outcome.losses[name], weighted_mean)
        if penalties:
            total += tf.cast(tf.add_n(penalties), tf.float32) * number
        totals.append(total)
        numbers.append(number)
    return totals, numbers


def _like(tensor: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """A `[b]` or `[b, 1]` tensor beside values `[b]` or `[b, t]`."""
    if tensor.shape.rank == values.shape.rank + 1 and tensor.shape[-1] == 1:
        return tf.squeeze(tensor, -1)
    while tensor.shape.rank < values.shape.rank:
        tensor = tf.expand_dims(tensor, -1)
    return tensor


def dense(gradients: Sequence[Any]) -> list[tf.Tensor]:
    """Gradients as plain tensors.

    An embedding's `IndexedSlices` may name a row several times: its norm is wrong before they are
    added up.
    """
    return [tf.convert_to_tensor(g) for g in gradients]


def all_reduce(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sums over the replicas, in one packed operation. Replica context."""
    context = tf.distribute.get_replica_context()
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))


def clip_factor(norm: tf.Tensor, clip_norm: float) -> tf.Tensor:
    """What a gradient of this global norm is multiplied by to clip it.

    References:
        Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, 2013.
    """
    if not clip_norm:
        return tf.ones_like(norm)
    return clip_norm / tf.maximum(norm, clip_norm)
