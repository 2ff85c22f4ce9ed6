"""Where splits come from: TFDS, a folder of images, or the task itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trainer.data import arrays as reading
from trainer.data import splits
from trainer.data.folders import ImageFolder, open_folder, stored_images
from trainer.data.offline import is_folder
from trainer.data.prepare import is_prepared, lack, open_builder, prepare
from trainer.data.records import stored_records
from trainer.data.splits import Part
from trainer.data.stored import Stored, in_memory
from trainer.errors import BadInput
from trainer.source import Source


class Origin(Protocol):
    """What has splits, and the two ways to read one.

    Attributes:
        name: Of the dataset; empty where the task made it.
    """

    name: str

    @property
    def num_classes(self) -> Mapping[str, int]:
        """Feature name to its number of classes, for labels."""
        ...

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Likewise to their names, where they are known."""
        ...

    def parts(self, split: str, flag: str) -> list[Part]:
        """What `--flag=split` stands for."""
        ...

    def in_memory(self, split: str, flag: str, budget_bytes: int) -> dict[str, np.ndarray]:
        """The split as arrays, or `OverBudget`."""
        ...

    def on_disk(self, split: str, flag: str) -> Stored:
        """The split, left in its files."""
        ...


def open_origin(source: Source, data_dir: str) -> Origin:
    """What `Source.dataset` names, prepared first where it can be.

    Raises:
        BadInput: It is not there.
    """
    if not source.dataset:
        return Made(source)
    if not is_folder(source.dataset):
        builder = open_builder(source.dataset, str(Path(data_dir).expanduser()))
        if not is_prepared(builder):
            prepare(builder)
        return Prepared(source, builder)
    opened = open_folder(source.dataset)
    if isinstance(opened, ImageFolder):
        return Images(source, opened)
    if not is_prepared(opened):
        raise BadInput(
            f"--dataset={source.dataset} is broken: it lacks {lack(opened)}; copy it there again."
        )
    return Prepared(source, opened)


class Prepared:
    """A dataset that TFDS wrote."""

    def __init__(self, source: Source, builder: Any) -> None:
        self.source, self.builder = source, builder
        self.name = builder.info.full_name
        self.encoded = source.decode is not None

    @property
    def num_classes(self) -> Mapping[str, int]:
        """Of the labels among the source's features."""
        features = {name: self.builder.info.features[name] for name in self.source.features}
        numbers = {name: getattr(f, "num_classes", None) for name, f in features.items()}
        return {name: int(number) for name, number in numbers.items() if number}

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Of the same features."""
        features = self.builder.info.features
        return {name: tuple(features[name].names) for name in self.num_classes}

    def parts(self, split: str, flag: str) -> list[Part]:
        """As TFDS has them."""
        sizes = {name: info.num_examples for name, info in self.builder.info.splits.items()}
        return splits.parts(split, sizes, flag, f"--dataset={self.builder.name}")

    def in_memory(self, split: str, flag: str, budget_bytes: int) -> dict[str, np.ndarray]:
        """Decoded in the order of the files."""
        read = reading.load_split(
            self.builder, split, self.source.features, budget_bytes, flag, self.encoded
        )
        return self.source.arrange(read, split) if self.source.arrange else read

    def on_disk(self, split: str, flag: str) -> Stored:
        """Its TFRecord files."""
        if self.source.arrange:
            raise BadInput(
                f"--{flag}={split}: this task arranges its examples in memory, so it can neither "
                "read them from disk nor from --tf_data_service; raise --memory_budget_gib, or "
                "take a slice of the split."
            )
        return stored_records(self.builder, split, self.source.features, self.encoded)


class Images:
    """A folder of images."""

    def __init__(self, source: Source, folder: ImageFolder) -> None:
        self.source, self.folder = source, folder
        self.name = folder.root.resolve().name
        self.num_classes: Mapping[str, int] = {"label": len(folder.classes)}
        self.class_names: Mapping[str, tuple[str, ...]] = {"label": tuple(folder.classes)}

    def parts(self, split: str, flag: str) -> list[Part]:
        """Of the folders below it."""
        return splits.parts(split, self.folder.sizes, flag, f"--dataset={self.folder.root}")

    def in_memory(self, split: str, flag: str, budget_bytes: int) -> dict[str, np.ndarray]:
        """Each file read once."""
        return in_memory(self.on_disk(split, flag), budget_bytes)

    def on_disk(self, split: str, flag: str) -> Stored:
        """Its image files."""
        encoded = self.source.decode is not None
        parts = self.parts(split, flag)
        return stored_images(self.folder, split, parts, self.source.features, encoded)


class Made:
    """What the task makes; each split once, however many slices are taken of it."""

    name = ""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.num_classes: Mapping[str, int] = {}
        self.class_names: Mapping[str, tuple[str, ...]] = {}
        self.made: dict[str, dict[str, np.ndarray]] = {}

    def parts(self, split: str, flag: str) -> list[Part]:
        """Of what `make` returns for the names in the notation."""
        assert self.source.make is not None, "a source has a dataset or makes its examples"
        for name in splits.names(split):
            if name not in self.made:
                made = self.source.make(name)
                self.made[name] = {feature: np.asarray(array) for feature, array in made.items()}
        sizes = {name: len(made[self.source.features[0]]) for name, made in self.made.items()}
        return splits.parts(split, sizes, flag, "the task")

    def in_memory(self, split: str, flag: str, budget_bytes: int) -> dict[str, np.ndarray]:
        """As it was made, whatever it takes: it is there already."""
        return _joined([self._slice(part) for part in self.parts(split, flag)])

    def on_disk(self, split: str, flag: str) -> Stored:
        """There is nothing on disk."""
        raise BadInput(
            "--reader=disk and --tf_data_service read files, but this task makes its examples in "
            "memory; leave the flag out."
        )

    def _slice(self, part: Part) -> dict[str, np.ndarray]:
        return {n: array[part.start : part.stop] for n, array in self.made[part.name].items()}


def _joined(pieces: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
