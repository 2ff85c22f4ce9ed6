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
        check: `check(arrays, split, info)` raises `BadInput` where an example cannot be right,
            naming its row.
        decode: `decode(features, training, draws)`: the features of one example, images as stored
            (a string scalar with the file's bytes) or as an array, to features of fixed shapes.
            `draws`, float32 `[num_draws]`, are the numbers that `augment` gets for this example;
            None outside of training.
        augment: Features and numbers uniform in [0, 1), float32 `[b, num_draws]`, to features; in
            training only. The numbers are a pure function of (seed, pass over the data, example).
        mix: A batch, the batch of the examples that follow each of its own, and the numbers of its
            own, to a batch; in training only, after `batch`. An example's follower is the next one
            of the same global batch, the last one's the first: the same on any number of replicas.
        num_draws: Random numbers that `decode`, `augment` and `mix` want for an example; each of
            them gets all and uses columns of its own.
    """

    features: tuple[str, ...]
    batch: Callable[[Features], tuple[Any, ...]]
    dataset: str = ""
    make: Callable[[str], dict[str, Any]] | None = None
    check: Callable[[dict[str, Any], str, DataInfo], None] | None = None
    decode: Callable[[Features, bool, Any], Features] | None = None
    augment: Callable[[Features, Any], Features] | None = None
    mix: Callable[[tuple[Any, ...], tuple[Any, ...], Any], tuple[Any, ...]] | None = None
    num_draws: int = 0
