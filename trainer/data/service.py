"""`--tf_data_service`: batches made on other machines, by TensorFlow's own input service.

Its workers run this project's own pipeline, one step's whole batch at a time: the dispatcher hands
out step numbers, and whoever is done first delivers first. Every batch is the one that the plan has
for its step, with the same augmentation; only the order in which they arrive is the machines'. So
a run on the service goes on after an interruption, but not with the same batches to the bit.
"""

from __future__ import annotations

import logging
from typing import Any

import tensorflow as tf

from trainer.data.pipeline import PARALLEL_CALLS
from trainer.data.plan import IndexPlan, cut
from trainer.data.readers import Reader, read_share

log = logging.getLogger("trainer")


def distribute_service(
    strategy: tf.distribute.Strategy,
    reader: Reader,
    plan: IndexPlan,
    address: str,
    *,
    first_step: int,
    single: bool = False,
) -> tf.distribute.DistributedDataset:
    """An endless distributed dataset that begins at about `first_step`.

    Args:
        strategy: Whose replicas share the batches.
        reader: The examples; its files must lie under the same paths on the service's workers.
        plan: Which examples a step sees.
        address: The dispatcher, `grpc://host:port`.
        first_step: The step to begin with.
        single: As in `pipeline.distribute`.

    Returns:
        Elements as those of `pipeline.distribute`, one step each.
    """
    replicas = strategy.num_replicas_in_sync
    log.info(
        "Training batches come from %s in the order in which its workers finish them: a run that "
        "goes on, or is repeated, is not the same to the bit.",
        address,
    )

    def whole(step: Any) -> tuple[Any, ...]:
        one = tf.constant(1, tf.int64)
        return read_share(reader, plan, step, one, one - 1, 1)[1]

    def part(batch: Any, replica: Any) -> tuple[Any, ...]:
        size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
        start, stop, weight = cut(size, replica, replicas)
        own = tf.nest.map_structure(lambda t: t[start:stop], batch)
        if single:
            return own
        return weight[None], tf.nest.map_structure(lambda t: t[None], own)

    def for_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local
        steps = tf.data.Dataset.range(first_step, tf.int64.max)
        made = steps.map(whole, num_parallel_calls=PARALLEL_CALLS).apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, address
            )
        )
        own = tf.data.Dataset.range(first, first + local)
        parts = made.flat_map(lambda *batch: own.map(lambda replica: part(batch, replica)))
        options = tf.data.Options()
        options.autotune.enabled = False  # as in pipeline.distribute
        return parts.prefetch(2 * local).with_options(options)

    return strategy.distribute_datasets_from_function(for_worker)
