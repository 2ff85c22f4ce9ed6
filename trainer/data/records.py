"""TFRecord files read record by record, in any order.

A batch is a pure function of (seed, pass, step) with this reader too: an index says where each
record begins, and TensorFlow reads it from there. So the order, the replicas' parts and the place
to go on from are those of the memory reader, to the bit, at any size. A sequential reader with a
shuffle buffer would have an order of its own, and would have to read up to where a run goes on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from trainer.data.arrays import full_dtype, is_image, tensor_specs
from trainer.data.stored import Stored
from trainer.errors import BadInput
from trainer.source import Features

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

log = logging.getLogger("trainer")

# Of a record: its length, 8 bytes, and three checksums of 4 bytes (two before, one after the data).
LENGTH_BYTES, FRAME_BYTES = 8, 16


def stored_records(
    builder: tfds.core.DatasetBuilder, split: str, features: Sequence[str], encoded: bool
) -> Stored:
    """A split of a prepared dataset, left in its files.

    Args:
        builder: Of a prepared dataset.
        split: In TFDS's notation.
        features: Names of the features to read.
        encoded: Whether images stay JPEG or PNG.

    Raises:
        BadInput: A file is missing, cut or lies on no local disk, or there is no such feature.
    """
    import tensorflow_datasets as tfds

    _refuse_unreadable(builder)
    name = f"--dataset={builder.name}, split {split}"
    files = builder.info.splits[split].file_instructions
    offsets = _index(builder, name, files)
    specs = tensor_specs(builder, features, encoded)
    decoding = tfds.decode.PartialDecoding(dict.fromkeys(features, True))
    own = decoding.extract_features(builder.info.features)
    images = tuple(name for name in features if encoded and is_image(builder, name))
    skipped = {name: tfds.decode.SkipDecoding() for name in images}
    with tf.device("CPU"):
        paths = tf.constant([file.filename for file in files])
        lengths = [len(part) for part in offsets]
        file_of_row = tf.constant(np.repeat(np.arange(len(files), dtype=np.int32), lengths))
        offset_of_row = tf.constant(np.concatenate(offsets))

    def read(row: Any) -> Features:
        record = _record(paths[file_of_row[row]], offset_of_row[row])
        example = own.deserialize_example(record, decoders=skipped or None)
        return {n: tf.cast(example[n], full_dtype(spec)) for n, spec in specs.items()}

    ends = np.cumsum(lengths)

    def place(row: int) -> str:
        number = int(np.searchsorted(ends, row, side="right"))
        first = files[number].skip + row - (int(ends[number - 1]) if number else 0)
        return f"record {first} of {files[number].filename}"

    classes = {n: getattr(builder.info.features[n], "num_classes", None) for n in features}
    digest = [(Path(f.filename).name, os.path.getsize(f.filename), f.skip, f.take) for f in files]
    return Stored(
        name=name,
        num_examples=sum(lengths),
        num_bytes=sum(size for _, size, _, _ in digest),
        read=read,
        place=place,
        num_classes={n: int(c) for n, c in classes.items() if c},
        encoded=images,
        sha256=hashlib.sha256(repr(digest).encode()).hexdigest(),
    )


def _refuse_unreadable(builder: tfds.core.DatasetBuilder) -> None:
    kind = builder.info.file_format
    if kind is not None and kind.value != "tfrecord":
        raise BadInput(
            f"--reader=disk: --dataset={builder.name} lies in files of the format {kind.value}, "
            "not tfrecord; take --reader=memory, or prepare it again as tfrecord."
        )
    if "://" in str(builder.data_dir):
        raise BadInput(
            f"--reader=disk reads examples in any order, which {builder.data_dir} is too slow for; "
            "copy the dataset onto a local disk."
        )


def _index(builder: tfds.core.DatasetBuilder, name: str, files: Sequence[Any]) -> list[np.ndarray]:
    """Where each record of each file begins."""
    began = time.monotonic()
    with ThreadPoolExecutor(16) as threads:  # waiting for the disk
        offsets = list(threads.map(lambda file: _offsets(builder, file), files))
    number, seconds = sum(map(len, offsets)), time.monotonic() - began
    log.info(
        "%s: indexed %s records of %d files in %.1f s.", name, f"{number:,}", len(files), seconds
    )
    return offsets


def _offsets(builder: tfds.core.DatasetBuilder, file: Any) -> np.ndarray:
    """Where the wanted records of a file begin, its length and number of records checked.

    TensorFlow ends without an error where a file is cut between two records.
    """
    starts: list[int] = []
    position = 0
    with open(file.filename, "rb", buffering=0) as shard:
        size, descriptor = os.fstat(shard.fileno()).st_size, shard.fileno()
        while position < size and len(starts) <= file.examples_in_shard:
            starts.append(position)
            length = int.from_bytes(os.pread(descriptor, LENGTH_BYTES, position), "little")
            position += length + FRAME_BYTES
    whole = len(starts) - (position > size)
    if whole != file.examples_in_shard:
        raise BadInput(
            f"--dataset={builder.name}: {file.filename} has {whole:,} whole records of "
            f"{file.examples_in_shard:,}; delete {builder.data_dir} and run --mode=prepare again."
        )
    return np.array(starts[file.skip : file.skip + file.take], np.int64)


def _record(path: Any, offset: Any) -> Any:
    """The record that begins there, its checksums verified. Scalars; inside tf.data or eagerly."""
    none = tf.constant(0, tf.int64)  # no buffer: nothing is read ahead that nobody wants
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None], compression_type="", buffer_size=none, byte_offsets=offset[None]
    )
    kind: dict[str, Any] = {"output_types": [tf.string], "output_shapes": [[]]}
    one = tf.raw_ops.TakeDataset(input_dataset=records, count=none + 1, **kind)
    return tf.raw_ops.DatasetToSingleElement(dataset=one, **kind)[0]
