"""The memory reader: range -> index_shuffle -> gather, several steps an element."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.plan import IndexPlan, Schedule, Share
from trainer.source import Source

# An element of the pipeline holds several steps: a distributed iterator costs 0.1 to 0.2 ms each
# time it is asked (measured on 2 CPU cores), more than a whole step of a small network.
BLOCK_BYTES = 8 * 2**20
CHUNK = 4096
PARALLEL_CALLS = min(16, os.cpu_count() or 1)


class MemoryReader:
    """One split in memory, and how a replica's share of a few steps is read from it.

    Without augmentation the model's input is the same each time: it is made once, if it fits, and
    reading a batch is then a gather and no more (casting 128 images of MNIST takes longer than an
    optimizer's update on the network that learns them).

    Args:
        arrays: Feature name to `[num_examples, ...]`.
        source: How features become a batch.
        training: Whether to augment; in evaluation only where the source says so.
        budget_bytes: The most memory that input made once may take.
    """

    def __init__(
        self, arrays: dict[str, np.ndarray], source: Source, training: bool, budget_bytes: int
    ) -> None:
        self.source = source
        self.training = training
        self.augment = source.augment if training or source.augment_evaluation else None
        with tf.device("CPU"):
            self.features = {name: tf.constant(array) for name, array in arrays.items()}
            self.made = None if self.augment else self._make(budget_bytes)
        components = tf.nest.flatten(self.made) if self.made else list(self.features.values())
        self.row_bytes = sum(_row_bytes(t, self.made is None) for t in components)

    def read(self, plan: IndexPlan, share: Share) -> tuple[Any, ...]:
        """The batch `[steps * b, ...]` that a share stands for. Inside `tf.data`."""
        if self.made is not None:
            return tf.nest.map_structure(lambda t: tf.gather(t, share.rows), self.made)
        features = {name: tf.gather(t, share.rows) for name, t in self.features.items()}
        if self.augment is not None:
            # an evaluation has the numbers of a pass that comes in no training
            data_pass = share.data_pass if self.training else tf.constant(-1, tf.int64)
            draws = plan.draws(data_pass, share.rows, self.source.num_draws)
            features = self.augment(features, draws)
        return self.source.batch(features)

    def _make(self, budget_bytes: int) -> tuple[Any, ...] | None:
        """All examples as the model sees them, or None where they are too many."""
        examples = len(next(iter(self.features.values())))
        parts: list[Any] = []
        for start in range(0, examples, CHUNK):
            chunk = {name: t[start : start + CHUNK] for name, t in self.features.items()}
            parts.append(self.source.batch(chunk))
            if _bytes(parts[0]) * examples > budget_bytes * min(CHUNK, examples):
                return None
        return tf.nest.map_structure(lambda *chunks: tf.concat(chunks, 0), *parts)


def _bytes(batch: Any) -> int:
    return sum(int(tf.size(t)) * t.dtype.size for t in tf.nest.flatten(batch))


def _row_bytes(tensor: tf.Tensor, raw: bool) -> int:
    """Bytes of one example; what is still uint8 will be float32."""
    return int(np.prod(tensor.shape[1:])) * (4 if raw else tensor.dtype.size)


def distribute(
    strategy: tf.distribute.Strategy,
    reader: MemoryReader,
    plan: IndexPlan,
    schedule: Schedule,
    *,
    first_step: int,
    single: bool = False,
) -> tf.distribute.DistributedDataset:
    """An endless distributed dataset that begins at `first_step`.

    Each replica gets its contiguous slice of every global batch, so nothing is divided again.

    Args:
        strategy: Whose replicas share the batches.
        reader: The examples.
        plan: Which examples a step sees.
        schedule: Where calls on the device end: no element reaches over such an end.
        first_step: The step to begin with.
        single: One step an element and no leading dimension, as `model.fit()` wants it.

    Returns:
        Elements `(weights, batch)`: float32 `[steps]`, what the examples of a step count (see
        `IndexPlan.rows`), and tensors `[steps, per_replica_batch_size, ...]`, fewer in the last
        batch of a pass. Under `single` just the tensors, without their first dimension.
    """
    most = max(1, BLOCK_BYTES // (reader.row_bytes * plan.global_batch_size))
    most = 1 if single else min(most, schedule.steps_per_loop)
    replicas = strategy.num_replicas_in_sync
    read = _reading(reader, plan, replicas, single)
    options = tf.data.Options()
    # The tuner's thread can miss its call to end: an iterator's destructor then waits for up to a
    # minute, and whoever triggered it with it (seen in TensorFlow 2.21).
    options.autotune.enabled = False

    def for_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first_replica = context.input_pipeline_id * local
        places = _places(plan, schedule, first_step, most, first_replica, local)
        dataset = places.map(read, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
        return dataset.prefetch(2 * local).with_options(options)

    return strategy.distribute_datasets_from_function(for_worker)


def _places(
    plan: IndexPlan,
    schedule: Schedule,
    first_step: int,
    most: int,
    first_replica: int,
    local_replicas: int,
) -> tf.data.Dataset:
    """Endless (first step, steps, replica): all replicas' parts of one block, then the next."""

    def count(step: tf.Tensor) -> tf.Tensor:
        position = step % plan.steps_per_pass
        full = plan.full_steps - position  # 0 at the smaller batch, which goes alone
        return tf.reduce_min([schedule.to_boundary(step), tf.maximum(full, 1), most])

    def advance(state: tuple[Any, Any], _: Any) -> tuple[tuple[Any, Any], tuple[Any, Any, Any]]:
        step, replica = state
        steps, last = count(step), replica == local_replicas - 1
        following = (tf.where(last, step + steps, step), tf.where(last, 0 * replica, replica + 1))
        return following, (step, steps, first_replica + replica)

    start = (tf.constant(first_step, tf.int64), tf.constant(0, tf.int64))
    return tf.data.Dataset.counter().scan(start, advance)


def _reading(
    reader: MemoryReader, plan: IndexPlan, replicas: int, single: bool
) -> Callable[..., tuple[Any, ...]]:
    """Turns a place into the batches that lie there."""

    def read(step: Any, count: Any, replica: Any) -> tuple[Any, ...]:
        share = plan.rows(step, count, replica, replicas)
        batch = reader.read(plan, share)
        if single:
            return batch
        batch = tf.nest.map_structure(lambda t: _blocked(t, count, share.size), batch)
        return tf.fill([count], share.weight), batch

    return read


def _blocked(tensor: tf.Tensor, count: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`[count * size, ...]` as `[count, size, ...]`."""
    shape = tf.concat([tf.stack([count, size]), tf.shape(tensor, tf.int64)[1:]], axis=0)
    blocked = tf.reshape(tensor, shape)
    blocked.set_shape([None, None, *tensor.shape[1:]])
    return blocked
