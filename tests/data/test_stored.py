"""A split that stays on disk: the same batches as from memory, to the bit; damage by its name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.made import folder_of_images, in_shards, prepared, write_image
from trainer.config import Data
from trainer.data.load import Loaded, load
from trainer.data.plan import IndexPlan
from trainer.data.readers import DiskReader, MemoryReader
from trainer.data.stored import Stored
from trainer.errors import BadInput
from trainer.faults import fault
from trainer.source import Features, Source

EXAMPLES = 23
NAMES = ("image", "label", "price", "flag")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one size, in four files."""
    random = np.random.default_rng(0)
    features = {
        "image": tfds.features.Image(shape=(5, 4, 3)),
        "label": tfds.features.ClassLabel(num_classes=3),
        "price": tfds.features.Tensor(shape=(2,), dtype=np.float64),
        "flag": np.bool_,
    }
    rows = [
        {
            "image": random.integers(0, 256, (5, 4, 3), np.uint8),
            "label": i % 3,
            "price": random.normal(size=2),
            "flag": i % 2 == 0,
        }
        for i in range(EXAMPLES)
    ]
    builder = prepared(tmp_path_factory.mktemp("shards"), features, rows)
    return Path(in_shards(builder, 4).data_dir)


def batch(features: Features) -> tuple[Any, ...]:
    return tuple(features[name] for name in NAMES)


def crop(features: Features, training: bool, draws: Any) -> Features:
    """One column of the image, a random one in training."""
    image = tf.io.decode_image(features["image"], expand_animations=False)
    column = tf.cast(draws[1] * 4, tf.int32) if training else 0
    cut = tf.ensure_shape(image[:, column], (5, 3))
    return {**features, "image": cut}


def brighter(features: Features, draws: Any) -> Features:
    return {**features, "image": tf.cast(features["image"], tf.float32) + draws[:, :1, None]}


def source(dataset: Path, **hooks: Any) -> Source:
    features = hooks.pop("features", NAMES)
    return Source(features=features, batch=batch, dataset=str(dataset), **hooks)


def loaded(dataset: Path, reader: str = "disk", **flags: Any) -> Loaded:
    config = Data(reader=reader, train_split="train", validation_split="none")
    return load(config, source(dataset, **flags), "task")


@pytest.mark.parametrize("decode", [None, crop], ids=["whole", "crop"])
@pytest.mark.parametrize("split", ["train", "train[30%:]", "train[:3]+train[20:]"])
def test_both_readers_hold_the_same(shards: Path, split: str, decode: Any) -> None:
    """In any order, augmented or not, in training and out of it."""
    want = source(shards, decode=decode, num_draws=2)
    both = [
        load(Data(reader=reader, train_split=split, validation_split="none"), want, "task")
        for reader in ("memory", "disk")
    ]
    assert both[0].info == both[1].info
    assert isinstance(both[1].train, Stored)
    memory = MemoryReader(both[0].train, want, True, 2**30)
    disk = DiskReader(both[1].train, want, True)
    plan = IndexPlan(num_examples=both[1].train.num_examples, global_batch_size=3, seed=7)
    share = plan.rows(*(tf.constant(n, tf.int64) for n in (2, 1, 0)), 1)
    for one, other in zip(memory.read(plan, share), disk.read(plan, share), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@settings(max_examples=20, deadline=None)
@given(
    step=st.integers(0, 40), seed=st.integers(0, 99), shuffle=st.booleans(),
    replicas=st.integers(1, 4), training=st.booleans(),
)  # fmt: skip
def test_a_batch_is_the_memory_readers_to_the_bit(
    shards: Path, step: int, seed: int, shuffle: bool, replicas: int, training: bool
) -> None:
    want = source(shards, decode=crop, augment=brighter, num_draws=2)
    arrays, stored = _both(shards, want)
    plan = IndexPlan(num_examples=EXAMPLES, global_batch_size=5, seed=seed, shuffle=shuffle)
    for replica in range(replicas):
        place = (tf.constant(n, tf.int64) for n in (step, 1, replica))
        share = plan.rows(*place, replicas)
        pair = [
            reader.read(plan, share)
            for reader in (
                MemoryReader(arrays, want, training, 2**30),
                DiskReader(stored, want, training),
            )
        ]
        for one, other in zip(*pair, strict=True):
            np.testing.assert_array_equal(one, other)


CACHE: dict[Path, tuple[Any, Any]] = {}


def _both(shards: Path, want: Source) -> tuple[Any, Any]:
    if shards not in CACHE:
        splits = [
            load(Data(reader=reader, validation_split="none"), want, "task").train
            for reader in ("memory", "disk")
        ]
        CACHE[shards] = splits[0], splits[1]
    return CACHE[shards]


def test_what_is_over_the_budget_stays_on_disk(shards: Path, caplog: Any) -> None:
    caplog.set_level("INFO", "trainer")
    small = Data(memory_budget_gib=1e-6, validation_split="none")
    assert isinstance(load(small, source(shards), "task").train, Stored)
    assert "so it is read from disk" in caplog.text
    assert "indexed 23 records of 4 files" in caplog.text
    large = Data(validation_split="none")
    assert isinstance(load(large, source(shards), "task").train, dict)
    held = Data(memory_budget_gib=1e-6, reader="memory", validation_split="none")
    with pytest.raises(BadInput, match=r"--memory_budget_gib=.* is too little .* --reader=disk"):
        load(held, source(shards), "task")


# --- damage ---


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """300 rows in three files."""
    features = {"x": tfds.features.Tensor(shape=(), dtype=np.float32), "label": np.int64}
    rows = [{"x": float(i), "label": i} for i in range(300)]
    return Path(in_shards(prepared(tmp_path, features, rows), 3).data_dir)


def plain(dataset: Path) -> Source:
    return Source(
        features=("x", "label"), batch=lambda f: (f["x"], f["label"]), dataset=str(dataset)
    )


@pytest.mark.parametrize("damage", ["cut", "cut between records", "removed", "length"])
@pytest.mark.parametrize("reader", ["disk", "memory"])
def test_a_damaged_shard_is_named_before_training(numbers: Path, damage: str, reader: str) -> None:
    shard = sorted(numbers.glob("*.tfrecord*"))[1]
    data = shard.read_bytes()
    record = int.from_bytes(data[:8], "little") + 16
    if damage == "removed":
        shard.unlink()
    elif damage == "length":
        shard.write_bytes(data[:record] + bytes([data[record] ^ 64]) + data[record + 1 :])
    else:
        shard.write_bytes(data[: 3 * record + (5 if damage == "cut between records" else 30)])
    with pytest.raises(BadInput) as refused:
        load(Data(reader=reader, validation_split="none"), plain(numbers), "task")
    assert shard.name in str(refused.value) or "part of" in str(refused.value)


def test_a_flipped_bit_is_found_when_it_is_read(numbers: Path) -> None:
    """TensorFlow says only that some record is corrupted."""
    stored = load(Data(reader="disk", validation_split="none"), plain(numbers), "task").train
    assert isinstance(stored, Stored)
    shard = sorted(numbers.glob("*.tfrecord*"))[1]
    data = bytearray(shard.read_bytes())
    data[-8] ^= 1
    shard.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError):
        stored.example(tf.constant(199, tf.int64))
    fault = stored.fault([0, 299, 199])
    assert f"record 99 of {shard} (row 199) cannot be used" in str(fault)


@pytest.mark.parametrize("what", ["x", "label"])
def test_numbers_that_cannot_be_right_name_their_place(tmp_path: Path, what: str) -> None:
    features = {
        "x": tfds.features.Tensor(shape=(), dtype=np.float32),
        "label": tfds.features.ClassLabel(num_classes=100),
    }
    rows = [{"x": float(i), "label": i} for i in range(100)]
    rows[70]["x"] = np.nan if what == "x" else 0.0
    folder = Path(in_shards(prepared(tmp_path, features, rows), 2).data_dir)
    if what == "label":  # as another program might have written it
        description = folder / "features.json"
        text = description.read_text()
        assert '"numClasses": "100"' in text
        description.write_text(text.replace('"numClasses": "100"', '"numClasses": "70"'))
        (folder / "label.labels.txt").unlink(missing_ok=True)
    stored = load(Data(reader="disk", validation_split="none"), plain(folder), "task").train
    assert isinstance(stored, Stored)
    said = str(stored.fault(range(100)))
    assert "record 20 of" in said and "(row 70)" in said
    assert ("x is NaN or infinite" if what == "x" else "label is outside [0, 70)") in said


@pytest.mark.parametrize("reader", ["memory", "disk"])
def test_an_image_that_is_decoded_late_is_named(tmp_path: Path, reader: str) -> None:
    """Images of many sizes stay encoded, so nobody looks into them before they are wanted."""
    root = folder_of_images(tmp_path / "f", {"train": {"a": 70, "b": 70}})
    want = dataclasses.replace(images(root), decode=lambda f, training, draws: _first_pixel(f))
    found = load(Data(reader=reader, validation_split="none"), want, "task").train
    assert fault(found, want, range(140), "--train_split=train") is None
    if isinstance(found, Stored):
        path = Path(found.place(100))
        path.write_bytes(path.read_bytes()[:60])
    else:
        found["image"][100] = found["image"][100][:60]
    said = str(fault(found, want, [5, 100, 101], "--train_split=train"))
    assert "row 100" in said and "cannot be" in said


def _first_pixel(features: Features) -> Features:
    image = tf.io.decode_image(features["image"], expand_animations=False)
    return {**features, "image": tf.ensure_shape(image[0, 0], (3,))}


# --- folders of images ---

IMAGES = ("image", "label")


def images(root: Path) -> Source:
    return Source(features=IMAGES, batch=lambda f: (f["image"], f["label"]), dataset=str(root))


@pytest.mark.parametrize("reader", ["memory", "disk"])
def test_a_folder_of_images(tmp_path: Path, reader: str) -> None:
    root = folder_of_images(
        tmp_path / "f", {"train": {"cat": 9, "ant": 6}, "test": {"cat": 2, "ant": 1}}
    )
    split = Data(reader=reader, train_split="train[:80%]", validation_split="train[80%:]")
    found = load(split, images(root), "task")
    assert found.info.num_classes == {"label": 2} and found.info.shapes["image"] == (6, 5, 3)
    assert found.info.name == "f"
    seen = []
    for part in (found.train, found.validation):
        if isinstance(part, Stored):
            rows = [part.example(tf.constant(r, tf.int64)) for r in range(part.num_examples)]
            seen += [(int(r["label"]), int(r["image"][0, 0, 0])) for r in rows]
        else:
            assert part is not None
            first = part["image"][:, 0, 0, 0]
            seen += list(zip(part["label"].tolist(), first.tolist(), strict=True))
    # sorted: ant is 0; a slice holds both classes
    assert sorted(seen) == [(0, i) for i in range(6)] + [(1, i) for i in range(9)]
    assert {label for label, _ in seen[12:]} == {0, 1}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("empty class", ["train/dog holds no image", "remove the folder"]),
        ("class only in test", ["test/dog is a class that", "train has not"]),
        ("unreadable", ["cat/0.png (row", "cannot be used"]),
        ("channels", ["cat/0.png (row", "image has the shape (6, 5, 1), and (6, 5, 3)"]),
        ("size", ["cat/0.png (row", "image has the shape (7, 5, 3), and (6, 5, 3)"]),
        ("no images", ["neither a folder of images", "dataset_info.json"]),
        ("no folder", ["is not a folder"]),
        ("no split", ["--train_split=train", "has test (1 examples)"]),
    ],
)
@pytest.mark.parametrize("reader", ["memory", "disk"])
def test_a_wrong_folder_is_refused_by_name(
    tmp_path: Path, case: str, words: list[str], reader: str
) -> None:
    root = folder_of_images(tmp_path / "f", {"train": {"cat": 5}, "test": {"cat": 1}})
    odd = root / "train" / "cat" / "0.png"
    if case == "empty class":
        (root / "train" / "dog").mkdir()
    elif case == "class only in test":
        folder_of_images(root, {"test": {"dog": 1}})
    elif case == "unreadable":
        odd.write_bytes(b"no image")
    elif case == "channels":
        write_image(odd, np.zeros((6, 5, 1), np.uint8))
    elif case == "size":
        write_image(odd, np.zeros((7, 5, 3), np.uint8))
    elif case == "no images":
        root = tmp_path / "nothing"
        root.mkdir()
    elif case == "no folder":
        root = tmp_path / "elsewhere"
    else:
        for path in (root / "train").rglob("*.png"):
            path.unlink()
        (root / "train" / "cat").rmdir()
        (root / "train").rmdir()
    with pytest.raises(BadInput) as refused:
        load(Data(reader=reader, validation_split="none"), images(root), "task")
    for word in [*words, str(tmp_path)]:
        assert word in str(refused.value)
