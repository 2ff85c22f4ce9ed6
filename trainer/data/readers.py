"""The readers: a share of a few steps, gathered from memory or disk, as the model sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.decoding import Decoding
from trainer.data.plan import IndexPlan, Share
from trainer.data.stored import Stored
from trainer.source import Features, Source

CHUNK = 4096


Split = dict[str, np.ndarray] | Stored


class Reader:
    """How a replica's share of a few steps is read.

    Args:
        source: How features become a batch.
        training: Whether to augment and mix; in evaluation only what the source says.

    Attributes:
        row_bytes: Bytes of one example as the model sees it.
        mix: The source's, in training.
    """

    row_bytes: int

    def __init__(self, source: Source, training: bool) -> None:
        self.source, self.training = source, training
        self.augment = source.augment if training or source.augment_evaluation else None
        self.mix = source.mix if training else None

    def read(self, plan: IndexPlan, share: Share) -> tuple[Any, ...]:
        """The batch `[len(share.rows), ...]` that a share stands for. Inside `tf.data`."""
        # an evaluation has the numbers of a pass that comes in no training
        data_pass = share.data_pass if self.training else tf.constant(-1, tf.int64)
        draws = plan.draws(data_pass, share.rows, self.source.num_draws)
        features = self._gather(share.rows, draws)
        if self.augment is not None:
            features = self.augment(features, draws)
        return self.source.batch(features)

    def _gather(self, rows: Any, draws: Any) -> Features:
        raise NotImplementedError


class MemoryReader(Reader):
    """One split in memory.

    Without augmentation the model's input is the same each time: it is made once, if it fits, and
    reading a batch is then a gather and no more (casting 128 images of MNIST takes longer than an
    optimizer's update on the network that learns them).

    Args:
        arrays: Feature name to `[num_examples, ...]`.
        source: How features become a batch.
        training: As for `Reader`.
        budget_bytes: The most memory that input made once may take.
    """

    def __init__(
        self, arrays: dict[str, np.ndarray], source: Source, training: bool, budget_bytes: int
    ) -> None:
        super().__init__(source, training)
        with tf.device("CPU"):
            self.features = {name: tf.constant(array) for name, array in arrays.items()}
            self.decoding = None
            if source.decode is not None:
                self.decoding = Decoding(self._example, source, training)
            changing = self.augment or (training and self.decoding)
            self.made = None if changing else self._make(budget_bytes)
        if self.made is not None:
            self.row_bytes = sum(_row_bytes(t, False) for t in tf.nest.flatten(self.made))
        elif self.decoding is not None:
            self.row_bytes = self.decoding.row_bytes
        else:
            self.row_bytes = sum(_row_bytes(t, True) for t in self.features.values())

    def read(self, plan: IndexPlan, share: Share) -> tuple[Any, ...]:
        """The batch `[len(share.rows), ...]` that a share stands for. Inside `tf.data`."""
        if self.made is not None:
            return tf.nest.map_structure(lambda t: tf.gather(t, share.rows), self.made)
        return super().read(plan, share)

    def _gather(self, rows: Any, draws: Any) -> Features:
        if self.decoding is not None:
            return self.decoding(rows, draws)
        return {name: tf.gather(t, rows) for name, t in self.features.items()}

    def _example(self, row: Any) -> Features:
        return {name: t[row] for name, t in self.features.items()}

    def _make(self, budget_bytes: int) -> tuple[Any, ...] | None:
        """All examples as the model sees them, or None where they are too many."""
        examples = len(next(iter(self.features.values())))
        parts: list[Any] = []
        for start in range(0, examples, CHUNK):
            rows = tf.range(start, min(start + CHUNK, examples), dtype=tf.int64)
            parts.append(self.source.batch(self._gather(rows, None)))
            if _bytes(parts[0]) * examples > budget_bytes * min(CHUNK, examples):
                return None
        return tf.nest.map_structure(lambda *chunks: tf.concat(chunks, 0), *parts)


class DiskReader(Reader):
    """One split on disk: each example is read when its batch is made.

    Args:
        stored: The split.
        source: How features become a batch.
        training: As for `Reader`.
    """

    def __init__(self, stored: Stored, source: Source, training: bool) -> None:
        super().__init__(source, training)
        self.decoding = Decoding(stored.example, source, training)
        self.row_bytes = self.decoding.row_bytes

    def _gather(self, rows: Any, draws: Any) -> Features:
        return self.decoding(rows, draws)


def open_reader(split: Split, source: Source, training: bool, budget_bytes: int) -> Reader:
    """The reader for where a split lies.

    Args:
        split: In memory or on disk.
        source: As for `Reader`; so `training`.
        budget_bytes: As for `MemoryReader`.
    """
    if isinstance(split, Stored):
        return DiskReader(split, source, training)
    return MemoryReader(split, source, training, budget_bytes)


def read_share(
    reader: Reader, plan: IndexPlan, step: Any, count: Any, replica: Any, num_replicas: int
) -> tuple[Share, tuple[Any, ...]]:
    """One replica's batches of some steps, mixed where the source wants it. Inside `tf.data`.

    A mixture needs one example more a step: the one that follows the replica's last.

    Args:
        reader: The examples.
        plan: Which of them a step sees.
        step: As for `IndexPlan.rows`; so the others.
    """
    share = plan.rows(step, count, replica, num_replicas, following=int(reader.mix is not None))
    batch = reader.read(plan, share)
    if reader.mix is None:
        return share, batch
    draws = plan.draws(share.data_pass, share.rows, reader.source.num_draws)
    own, following = (
        tf.nest.map_structure(lambda t, i=i: _part(t, share.size, i), batch) for i in (0, 1)
    )
    return share, reader.mix(own, following, _part(draws, share.size, 0))


def _part(tensor: tf.Tensor, size: tf.Tensor, start: int) -> tf.Tensor:
    """Of `size + 1` examples a step the `size` from the `start`-th on, of all steps."""
    shape = tf.shape(tensor, tf.int64)[1:]
    steps = tf.reshape(tensor, tf.concat([tf.stack([-1, size + 1]), shape], 0))
    part = tf.reshape(steps[:, start : start + size], tf.concat([[-1], shape], 0))
    part.set_shape([None, *tensor.shape[1:]])
    return part


def _bytes(batch: Any) -> int:
    return sum(int(tf.size(t)) * t.dtype.size for t in tf.nest.flatten(batch))


def _row_bytes(tensor: tf.Tensor, raw: bool) -> int:
    """Bytes of one example; what is still uint8 will be float32."""
    return int(np.prod(tensor.shape[1:])) * (4 if raw else tensor.dtype.size)
