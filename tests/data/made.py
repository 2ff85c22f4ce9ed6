"""Datasets for the tests of the readers: small, on disk, made in a moment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds


def prepared(folder: Path, features: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Any:
    """A dataset of one split, `train`, written by TFDS, whose rows keep their order."""

    with tfds.core.registered.skip_registration():

        class Made(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                return tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(features),
                    disable_shuffling=True,
                )

            def _split_generators(self, dl_manager: Any) -> Any:
                return {"train": self._generate_examples()}

            def _generate_examples(self) -> Iterator[tuple[int, Any]]:
                yield from enumerate(rows)

    builder = Made(data_dir=folder)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return builder


def in_shards(builder: Any, number: int) -> Any:
    """The same dataset, cut into so many files, in folder and description."""
    split = builder.info.splits["train"]
    records = [r.numpy() for path in split.filepaths for r in tf.data.TFRecordDataset(str(path))]
    for path in split.filepaths:
        path.unlink()
    ends = [len(records) * i // number for i in range(number + 1)]
    lengths = [end - start for start, end in itertools.pairwise(ends)]
    cut = tfds.core.SplitInfo(
        name="train",
        shard_lengths=lengths,
        num_bytes=split.num_bytes,
        filename_template=split.filename_template,
    )
    for path, start, length in zip(cut.filepaths, ends, lengths, strict=False):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records[start : start + length]:
                writer.write(record)
    builder.info.set_splits(tfds.core.SplitDict([cut]))
    builder.info.write_to_directory(builder.data_dir)
    return tfds.builder_from_directory(builder.data_dir)


def folder_of_images(
    root: Path, counts: dict[str, dict[str, int]], shape: tuple[int, ...] = (6, 5, 3)
) -> Path:
    """`root/SPLIT/CLASS/n.png`; the first pixel of each image is its number."""
    for split, classes in counts.items():
        for name, number in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                write_image(folder / f"{i}.png", np.full(shape, i, np.uint8))
    return root


def write_image(path: Path, pixels: np.ndarray) -> None:
    """A PNG or JPEG, by the name."""
    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(pixels).numpy())
