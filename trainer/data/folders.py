"""Folders as datasets: images in `SPLIT/CLASS/`, or what TFDS wrote elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.offline import NO_FOLDER
from trainer.data.splits import Part
from trainer.data.stored import Stored
from trainer.errors import BadInput
from trainer.source import Features

ENDINGS = (".jpg", ".jpeg", ".png")


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """Images sorted into folders.

    Attributes:
        root: Where the splits' folders lie.
        classes: Names of the classes, sorted; a label is a place in this list.
        files: Split to paths below `root`. They are ordered by a hash of their names, so that a
            slice of a split holds all classes.
    """

    root: Path
    classes: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]

    @property
    def sizes(self) -> dict[str, int]:
        """Images in each split."""
        return {split: len(paths) for split, paths in self.files.items()}


def open_folder(dataset: str) -> Any:
    """What a folder holds.

    Returns:
        TFDS's builder where TFDS wrote the folder, else an `ImageFolder`.

    Raises:
        BadInput: It is not there, or is neither of the two.
    """
    import tensorflow_datasets as tfds
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

    root = Path(dataset).expanduser()
    if not root.is_dir():
        raise BadInput(NO_FOLDER.format(dataset))
    written = [root] if (root / "dataset_info.json").exists() else []
    written += sorted(path.parent for path in root.glob("*/dataset_info.json"))
    if not written:
        return _image_folder(dataset, root)
    if len(written) > 1:
        versions = ", ".join(path.name for path in written)
        raise BadInput(f"--dataset={dataset} holds several datasets ({versions}); name one.")
    try:
        return tfds.builder_from_directory(written[0])
    except (ParseError, json.JSONDecodeError, ValueError, FileNotFoundError) as error:
        raise BadInput(
            f"--dataset={dataset}: its dataset_info.json or features.json cannot be read "
            f"({' '.join(str(error).split())[:200]}); write it again with TFDS."
        ) from error


def _image_folder(dataset: str, root: Path) -> ImageFolder:
    """Sorted, so that it is the same on each machine; the classes are those of `train`."""
    splits = _subfolders(root)
    first = "train" if "train" in splits else next(iter(splits), "")
    classes = _subfolders(root / first)
    files = {}
    for split in splits:
        found: list[str] = []
        for name in _subfolders(root / split):
            folder = root / split / name
            if name not in classes:
                raise BadInput(
                    f"--dataset={dataset}: {folder} is a class that {root / first} has not; "
                    "move its images, or make that folder."
                )
            images = [p for p in folder.iterdir() if p.suffix.lower() in ENDINGS]
            if not images:
                raise BadInput(
                    f"--dataset={dataset}: {folder} holds no image ({', '.join(ENDINGS)}); add "
                    "some, or remove the folder."
                )
            found += [str(path.relative_to(root)) for path in images]
        if found:
            files[split] = tuple(sorted(found, key=lambda p: hashlib.sha256(p.encode()).digest()))
    if not files:
        raise BadInput(
            f"--dataset={dataset} is neither a folder of images (train/CLASS/*.png or *.jpg, "
            "test/CLASS/...) nor one that TFDS wrote (dataset_info.json)."
        )
    return ImageFolder(root, tuple(classes), files)


def _subfolders(folder: Path) -> list[str]:
    found = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in found if not name.startswith("."))


def stored_images(
    folder: ImageFolder, split: str, parts: Sequence[Part], features: Sequence[str], encoded: bool
) -> Stored:
    """A split of an image folder, left in its files.

    Args:
        folder: What `open_folder` found.
        split: For messages.
        parts: The images that the split stands for.
        features: Of `image`, uint8 `[h, w, c]` or a scalar string, and `label`, int64.
        encoded: Whether images stay JPEG or PNG.
    """
    name = f"--dataset={folder.root}, split {split}"
    if other := [feature for feature in features if feature not in ("image", "label")]:
        raise BadInput(f"--dataset={folder.root} has image and label, but no {other[0]}.")
    paths = [path for part in parts for path in folder.files[part.name][part.start : part.stop]]
    number = {c: label for label, c in enumerate(folder.classes)}
    with tf.device("CPU"):
        names = tf.constant([str(folder.root / path) for path in paths])
        labels = tf.constant(np.array([number[Path(path).parts[1]] for path in paths]), tf.int64)

    def read(row: Any) -> Features:
        data = tf.io.read_file(names[row])
        if not encoded:
            data = tf.io.decode_image(data, expand_animations=False)
        both = {"image": data, "label": labels[row]}
        return {feature: both[feature] for feature in features}

    sizes = [(folder.root / path).stat().st_size for path in paths]
    return Stored(
        name=name,
        num_examples=len(paths),
        num_bytes=sum(sizes),
        read=read,
        place=lambda row: str(folder.root / paths[row]),
        num_classes={"label": len(folder.classes)},
        encoded=("image",) if encoded else (),
        sha256=hashlib.sha256(repr(list(zip(paths, sizes, strict=True))).encode()).hexdigest(),
    )
