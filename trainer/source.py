"""What data a task wants: a description, never a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

Features = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of the data once it is read: a model is shaped by it.

    Attributes:
        name: The dataset's name and version, or the task's where it made the examples.
        shapes: Feature name to the shape of one example.
        num_classes: Feature name to its number of classes, for labels.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    num_classes: dict[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where examples come from, and how a batch of them becomes what the model sees.

    `batch` and `augment` are TensorFlow operations on whole batches, without a loop over examples;
    what they make of an example must not depend on the others.

    Attributes:
        features: The names of the features to read.
        batch: Features, each `[b, ...]`, to `(x, y)` or `(x, y, sample_weight)`, with
            `sample_weight` float32 `[b]` (or `[b, t]` for losses of that shape).
        dataset: A TFDS name; empty where `make` gives the examples.
        make: `make(split)` returns the examples of a split as arrays `[num_examples, ...]`.
        arrange: `arrange(arrays, split)` turns what was read of `dataset` into examples, for those
            that are not one a row: documents into blocks of text.
        check: `check(arrays, split, info)` raises `BadInput` where an example cannot be right,
            naming its row.
        augment: Features and numbers uniform in [0, 1), float32 `[b, num_draws]`, to features; in
            training only. The numbers are a pure function of (seed, pass over the data, example).
        num_draws: Random numbers that `augment` wants for an example.
    """

    features: tuple[str, ...]
    batch: Callable[[Features], tuple[Any, ...]]
    dataset: str = ""
    make: Callable[[str], dict[str, Any]] | None = None
    arrange: Callable[[dict[str, Any], str], dict[str, Any]] | None = None
    check: Callable[[dict[str, Any], str, DataInfo], None] | None = None
    augment: Callable[[Features, Any], Features] | None = None
    num_draws: int = 0
