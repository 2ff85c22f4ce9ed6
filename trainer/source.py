"""What data a task wants: a description, never a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from trainer.errors import BadInput

Features = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of the data once it is read: a model is shaped by it.

    Attributes:
        name: The dataset's name and version, or the task's where it made the examples.
        shapes: Feature name to the shape of one example.
        num_classes: Feature name to its number of classes, for labels.
        class_names: Feature name to the names of its classes, where the dataset has them.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    num_classes: dict[str, int]
    class_names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where examples come from, and how a batch of them becomes what the model sees.

    `batch` and `augment` are TensorFlow operations on whole batches, without a loop over examples;
    what they make of an example must not depend on the others. `decode` has one example at a time,
    for what comes in different sizes.

    Attributes:
        features: The names of the features to read.
        batch: Features, each `[b, ...]`, to `(x, y)` or `(x, y, sample_weight)`, with
            `sample_weight` float32 `[b]` (or `[b, t]` for losses of that shape).
        dataset: A TFDS name, or the path of a folder (`./flowers`) that holds images in
            `train/CLASS/` and `test/CLASS/` or what TFDS wrote; empty where `make` gives the
            examples.
        make: `make(split)` returns the examples of a split as arrays `[num_examples, ...]`; slices
            (`train[:90%]`) are taken of what it returns for `train`.
        arrange: `arrange(arrays, split)` turns what was read of `dataset` into examples, for those
            that are not one a row: documents into blocks of text. It needs them in memory.
        check: `check(arrays, split, info)` raises `BadInput` where an example cannot be right,
            naming its row. Of a split that stays on disk it gets the first rows alone; labels and
            floats of the others are checked as they are read.
        decode: `decode(features, training, draws)` makes one example's features, of fixed shapes,
            from what is stored: images come as JPEG or PNG, a scalar string, all else without a
            batch dimension. Examples are decoded in parallel. `draws` are that example's numbers,
            float32 `[num_draws]`, the same that `augment` gets; None outside of training. Without
            `decode`, images come decoded and must be of one size.
        augment: Features and numbers uniform in [0, 1), float32 `[b, num_draws]`, to features; in
            training only. The numbers are a pure function of (seed, pass over the data, example).
        augment_evaluation: Whether evaluation augments as well, each time with the same numbers:
            for a generator's latents.
        mix: A batch, the batch of the examples that follow each of its own, and the numbers of its
            own, to a batch; in training only, after `batch`. An example's follower is the next one
            of the same global batch, the last one's the first: the same on any number of replicas.
        num_draws: Random numbers that `decode`, `augment` and `mix` want for an example; each of
            them gets all and uses columns of its own.
        files: Files that the examples come from; the run's record has their digests.
    """

    features: tuple[str, ...]
    batch: Callable[[Features], tuple[Any, ...]]
    dataset: str = ""
    make: Callable[[str], dict[str, Any]] | None = None
    arrange: Callable[[dict[str, Any], str], dict[str, Any]] | None = None
    check: Callable[[dict[str, Any], str, DataInfo], None] | None = None
    decode: Callable[[Features, bool, Any], Features] | None = None
    augment: Callable[[Features, Any], Features] | None = None
    augment_evaluation: bool = False
    mix: Callable[[tuple[Any, ...], tuple[Any, ...], Any], tuple[Any, ...]] | None = None
    num_draws: int = 0
    files: tuple[str, ...] = ()


def check_split(split: str, known: Sequence[str]) -> int:
    """Which of its splits a task that makes its examples is asked for.

    Returns:
        The place of `split` in `known`.

    Raises:
        BadInput: It is none of them.
    """
    if split not in known:
        raise BadInput(
            f"There is no split {split} here: give --train_split and --validation_split one of "
            f"{', '.join(known)}."
        )
    return known.index(split)
