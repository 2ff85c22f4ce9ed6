"""Decodes one split of a prepared dataset, once, into arrays in memory."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.data import splits
from trainer.data.stored import check_budget
from trainer.errors import BadInput

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

_ROWS_AT_ONCE = 1024


def load_split(
    builder: tfds.core.DatasetBuilder,
    split: str,
    features: Sequence[str],
    budget_bytes: int,
    flag: str,
    encoded: bool = False,
) -> dict[str, np.ndarray]:
    """Decodes a split into contiguous arrays, in the order on disk: the same in every process.

    Args:
        builder: Of a prepared dataset.
        split: In TFDS's notation: `train`, `train[90%:]`, `train+test`.
        features: Names of the features to decode; the others are not even read.
        budget_bytes: The most that the arrays may take together.
        flag: The flag that `split` came from, for messages: `train_split`.
        encoded: Whether images stay what they are on disk, JPEG or PNG, as `bytes`.

    Returns:
        Feature name -> array [num_examples, ...]: uint8 and bool stay as they are, other integers
        become int64, floats float32; text is an object array of `bytes`.

    Raises:
        BadInput: There is no such split or feature, the split is empty or damaged, its rows differ
            in shape, or a float is NaN or infinite.
        OverBudget: It is too large.
    """
    import tensorflow as tf

    where = f"--dataset={builder.name}"
    sizes = {name: info.num_examples for name, info in builder.info.splits.items()}
    num_examples = splits.count(splits.parts(split, sizes, flag, where))
    specs = tensor_specs(builder, features, encoded)
    fixed = all(s.shape.is_fully_defined() for s in specs.values())
    where += f", split {split}"

    def allocate(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        dtypes = {name: full_dtype(spec).as_numpy_dtype for name, spec in specs.items()}
        row_bytes = sum(math.prod(shapes[n]) * np.dtype(dtypes[n]).itemsize for n in specs)
        check_budget(num_examples * row_bytes, budget_bytes, where)
        return {n: np.empty((num_examples, *shapes[n]), dtypes[n]) for n in specs}

    arrays = allocate({n: tuple(spec.shape) for n, spec in specs.items()}) if fixed else {}
    dataset = _rows(builder, split, features, encoded)
    start = text_bytes = 0
    try:
        # Rows that may differ in shape make no batch.
        for batch in dataset.batch(_ROWS_AT_ONCE if fixed else 1).as_numpy_iterator():
            arrays = arrays or allocate({n: batch[n].shape[1:] for n in specs})
            text_bytes += _put(batch, arrays, start, where)
            check_budget(sum(a.nbytes for a in arrays.values()) + text_bytes, budget_bytes, where)
            start += len(batch[features[0]])
    except tf.errors.OpError as error:
        raise _damage(builder, split, dataset.skip(start), start) or error from error
    return arrays


def check_labels(labels: np.ndarray, num_classes: int, dataset: str, split: str) -> None:
    """Refuses labels that no class stands for; on a GPU they would train to NaN without a word.

    Args:
        labels: Integers [num_examples, ...].
        num_classes: Labels must lie in [0, num_classes).
        dataset: The value of `--dataset`, for the message.
        split: The split the labels are of, for the message.

    Raises:
        BadInput: Names the first such row and its label.
    """
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        raise BadInput(
            f"--dataset={dataset}: row {place[0]} of split {split} has the label {labels[place]}, "
            f"outside [0, {num_classes}); mend the dataset or give the task more classes."
        )


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256, in hex, of names, dtypes, shapes and contents; the order of names is no part."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        if array.dtype == object:
            for text in array.flat:
                digest.update(len(text).to_bytes(8, "little") + text)
        else:
            digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def tensor_specs(
    builder: tfds.core.DatasetBuilder, features: Sequence[str], encoded: bool
) -> dict[str, tf.TensorSpec]:
    """What one example's features are, images as strings where they stay encoded.

    Raises:
        BadInput: There is no such feature, or it is no array.
    """
    import tensorflow as tf

    specs = builder.info.features.get_tensor_spec()
    for name in features:
        # Nested features, videos and ragged ones have no spec of one tensor.
        if not isinstance(specs.get(name), tf.TensorSpec):
            arrays = [n for n, spec in specs.items() if isinstance(spec, tf.TensorSpec)]
            raise BadInput(
                f"--dataset={builder.name} has no feature {name!r} that fits into an array; "
                f"it has {', '.join(arrays) or 'none'}."
            )
    text = tf.TensorSpec((), tf.string)
    kept = [name for name in features if encoded and is_image(builder, name)]
    return {name: text if name in kept else specs[name] for name in features}


def is_image(builder: tfds.core.DatasetBuilder, feature: str) -> bool:
    """Whether a feature lies on disk as a JPEG or PNG."""
    import tensorflow_datasets as tfds

    return isinstance(builder.info.features[feature], tfds.features.Image)


def full_dtype(spec: tf.TensorSpec) -> tf.DType:
    """uint8, bool and text as they are, other integers int64, floats float32."""
    import tensorflow as tf

    if spec.dtype.is_integer and spec.dtype != tf.uint8:
        return tf.int64
    return tf.float32 if spec.dtype.is_floating else spec.dtype


def _rows(
    builder: tfds.core.DatasetBuilder, split: str, features: Sequence[str], encoded: bool
) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # TFDS warns of its own use of what it has deprecated
    skipped = {n: tfds.decode.SkipDecoding() for n in features if encoded and is_image(builder, n)}
    try:
        return builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(features, True), skipped or None),
            # By default TFDS reads 16 files in turns.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
    finally:
        logger.setLevel(level)


def _put(
    batch: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], start: int, where: str
) -> int:
    """Writes a batch at row `start` of the arrays; returns the bytes of its text."""
    text_bytes = 0
    for name, array in arrays.items():
        values = batch[name]
        if values.shape[1:] != array.shape[1:]:
            raise BadInput(
                f"{where}: {name} has the shape {values.shape[1:]} in row {start} and "
                f"{array.shape[1:]} in those before; give all images one size and one number of "
                "channels."
            )
        rows = array[start : start + len(values)]
        rows[...] = values
        if array.dtype == np.float32 and not np.isfinite(rows).all():
            place = tuple(np.argwhere(~np.isfinite(rows))[0])
            raise BadInput(
                f"{where}: {name} is {rows[place]} in row {start + place[0]}; "
                "mend or drop that row and prepare the dataset again."
            )
        if array.dtype == object:
            text_bytes += sum(map(len, rows.flat))
    return text_bytes


def _damage(
    builder: tfds.core.DatasetBuilder, split: str, rest: tf.data.Dataset, row: int
) -> BadInput | None:
    """What stopped the reading: TensorFlow names neither the file nor the row."""
    import tensorflow as tf

    again = f"delete {builder.data_dir} and run --mode=prepare again."
    for file in builder.info.splits[split].file_instructions:
        whole = 0
        try:
            for _ in tf.data.TFRecordDataset(file.filename):
                whole += 1
        except tf.errors.OpError:
            pass
        if whole != file.examples_in_shard:
            return BadInput(
                f"--dataset={builder.name}: {file.filename} has {whole:,} whole records of "
                f"{file.examples_in_shard:,}; {again}"
            )
    try:
        for _ in rest:
            row += 1
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        return BadInput(
            f"--dataset={builder.name}: row {row} of split {split} cannot be decoded ({reason}); "
            f"{again}"
        )
    return None
