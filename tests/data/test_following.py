"""Each example's follower in the global batch: what MixUp and CutMix mix it with."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.plan import IndexPlan
from trainer.data.readers import MemoryReader, read_share
from trainer.source import Source

quickly = settings(max_examples=30, deadline=None)


@quickly
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.booleans(), st.data())
def test_the_follower_is_the_next_of_the_global_batch(
    examples, batch_size, replicas, shuffle, data
):
    """On any number of replicas, in several steps at once, in a smaller last batch."""
    size = min(batch_size, examples)
    plan = IndexPlan(num_examples=examples, global_batch_size=size, seed=3, shuffle=shuffle)
    step = data.draw(st.integers(0, 2 * plan.steps_per_pass))
    position = step % plan.steps_per_pass
    count = data.draw(st.integers(1, max(1, plan.full_steps - position)))
    reader = MemoryReader({"row": np.arange(examples)}, pairs(), training=True, budget_bytes=2**20)

    def read(replica: int, number: int) -> list[np.ndarray]:
        place = [tf.constant(n, tf.int64) for n in (step, count, replica)]
        share, batch = read_share(reader, plan, *place, number)
        assert len(share.rows) == count * (share.size + 1)
        return [t.numpy().reshape(count, share.size, -1) for t in batch]

    (own, following) = read(0, 1)
    np.testing.assert_array_equal(following, np.roll(own, -1, axis=1))
    parts = [read(replica, replicas) for replica in range(replicas)]
    if own.shape[1] >= replicas:
        parts = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
        np.testing.assert_array_equal(parts, (own, following))
    else:  # each has all of them, for a share of their weight
        for part in parts:
            np.testing.assert_array_equal(part, (own, following))


def pairs() -> Source:
    """Examples beside their followers; the numbers show that both were drawn as their own."""
    return Source(
        features=("row",),
        batch=lambda f: (tf.cast(f["row"], tf.float32)[:, None], f["draw"]),
        augment=lambda f, draws: {**f, "draw": draws},
        mix=lambda own, following, draws: (
            tf.concat([own[0], own[1], draws[:, :0]], 1),
            tf.concat([*following], 1),
        ),
        num_draws=2,
    )
