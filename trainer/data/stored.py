"""A split that stays on disk: any example of it can be read by its row, in any order."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import BadInput
from trainer.source import Features


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """How an example is read, and where it lies.

    Attributes:
        name: Where the examples are from, for messages: `--dataset=mnist, split train`.
        num_examples: Examples in the split.
        num_bytes: What they take on disk.
        read: Row, an int64 scalar, to the features of one example; TensorFlow operations alone,
            which run wherever tf.data does.
        place: Row to the file, and the record in it, for messages.
        num_classes: Feature name to its number of classes, for labels.
        encoded: Features that are JPEG or PNG images, as scalar strings.
        sha256: Digest of the files' names and sizes, not of what is in them.
    """

    name: str
    num_examples: int
    num_bytes: int
    read: Callable[[Any], Features]
    place: Callable[[int], str]
    num_classes: Mapping[str, int]
    encoded: tuple[str, ...]
    sha256: str

    def example(self, row: Any) -> Features:
        """One example, or an `InvalidArgumentError` where a number cannot be right."""
        features = self.read(row)
        for name, value in features.items():
            checks = []
            if value.dtype.is_floating:
                message = f"{name} is NaN or infinite"
                checks.append(tf.debugging.assert_all_finite(value, message))
            if name in self.num_classes:
                number = self.num_classes[name]
                message = f"{name} is outside [0, {number})"
                most = tf.constant(number, value.dtype)
                checks.append(tf.debugging.assert_less(value, most, message))
                checks.append(tf.debugging.assert_non_negative(value, message))
            with tf.control_dependencies([c for c in checks if c is not None]):
                features[name] = tf.identity(value)
        return features

    def fault(self, rows: Iterable[int]) -> BadInput | None:
        """The first of these examples that cannot be used, with its file.

        Images must be readable, and what is decoded of one shape with the first example.
        """
        shapes: dict[str, Any] = {}
        for row in itertools.chain([0], rows):
            try:
                features = self.example(tf.constant(row, tf.int64))
                for name in self.encoded:
                    tf.io.decode_image(features[name], expand_animations=False)
            except tf.errors.OpError as error:
                return self.refusal(row, reason(error))
            for name, value in features.items():
                shape = tuple(value.shape)
                if shapes.setdefault(name, shape) != shape:
                    return self.refusal(
                        row, f"{name} has the shape {shape}, and {shapes[name]} in the first row"
                    )
        return None

    def refusal(self, row: int, why: str) -> BadInput:
        """One sentence about one example."""
        return BadInput(
            f"{self.name}: {self.place(row)} (row {row}) cannot be used ({why}); mend or remove it."
        )


def reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says, without the names of its nodes."""
    line = error.message.splitlines()[0].partition(" : Tensor")[0]
    return re.sub(r"^({{.*?}} *)+|\s*\[Op:.*$", "", line)


def in_memory(stored: Stored, budget_bytes: int) -> dict[str, np.ndarray]:
    """All examples as arrays, in their order.

    Returns:
        Feature name to array `[num_examples, ...]`; text is an object array of `bytes`.

    Raises:
        BadInput: An example is damaged, or of another shape than the first one.
        OverBudget: They take more memory than they may.
    """
    arrays: dict[str, np.ndarray] = {}
    text_bytes = row = 0
    rows = tf.data.Dataset.range(stored.num_examples)
    examples = rows.map(stored.example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    try:
        for example in examples.as_numpy_iterator():
            for name, value in example.items():
                if name not in arrays:
                    shape = (stored.num_examples, *np.shape(value))
                    dtype = object if isinstance(value, bytes) else value.dtype
                    need = sum(a.nbytes for a in arrays.values())
                    need += int(np.prod(shape)) * np.dtype(dtype).itemsize
                    check_budget(need, budget_bytes, stored.name)
                    arrays[name] = np.empty(shape, dtype)
                if arrays[name].shape[1:] != np.shape(value):
                    raise stored.fault([row]) or AssertionError(row)
                arrays[name][row] = value
                text_bytes += len(value) if isinstance(value, bytes) else 0
            row += 1
            if not row % 1024 or row == stored.num_examples:
                need = sum(a.nbytes for a in arrays.values()) + text_bytes
                check_budget(need, budget_bytes, stored.name)
    except tf.errors.OpError:
        fault = stored.fault([row])
        if fault is None:
            raise
        raise fault from None
    return arrays


class OverBudget(BadInput):
    """A split takes more memory than `--memory_budget_gib`."""


def check_budget(num_bytes: int, budget_bytes: int, where: str) -> None:
    """Raises `OverBudget` where so many bytes are too many."""
    if num_bytes > budget_bytes:
        need, have = num_bytes / 2**30, budget_bytes / 2**30
        raise OverBudget(
            f"--memory_budget_gib={have:.4g} is too little for {where}, which takes {need:.4g} GiB "
            "decoded; raise it, take a slice of the split, or leave it on disk with --reader=disk."
        )
