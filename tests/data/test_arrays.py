"""A split becomes arrays, or one sentence that names what is wrong with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.made import prepared as make
from trainer.data.arrays import check_labels, fingerprint, load_split
from trainer.errors import BadInput

BUDGET = 2**24


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """3,000 rows: more than one batch of the loader."""
    return make(
        tmp_path_factory.mktemp("numbers"),
        {
            "label": tfds.features.ClassLabel(num_classes=10),
            "small": np.int32,
            "half": tfds.features.Tensor(shape=(2,), dtype=np.float64),
            "flag": np.bool_,
            "text": tfds.features.Text(),
            "box": {"x": np.int64},
        },
        [
            {
                "label": i % 10,
                "small": -i,
                "half": [i / 2, 0.0],
                "flag": i % 2 == 0,
                "text": "x" * (i % 3),
                "box": {"x": i},
            }
            for i in range(3000)
        ],
    )


def test_values_order_and_dtypes(numbers: Any) -> None:
    rows = np.arange(3000)
    names = ["label", "small", "half", "flag", "text"]
    arrays = load_split(numbers, "train", names, BUDGET, "train_split")
    assert list(arrays) == names
    np.testing.assert_array_equal(arrays["label"], rows % 10)
    np.testing.assert_array_equal(arrays["small"], -rows)
    np.testing.assert_array_equal(arrays["half"][:, 0], rows / 2)
    np.testing.assert_array_equal(arrays["flag"], rows % 2 == 0)
    assert arrays["text"].tolist() == [b"x" * (i % 3) for i in range(3000)]
    assert [a.dtype for a in arrays.values()] == [np.int64, np.int64, np.float32, bool, object]
    assert all(a.flags.c_contiguous for a in arrays.values())


def test_batched_and_row_by_row_reading_agree(numbers: Any) -> None:
    batched = load_split(numbers, "train[50%:]", ["label"], BUDGET, "train_split")
    single = load_split(numbers, "train[50%:]", ["label", "text"], BUDGET, "train_split")
    assert len(batched["label"]) == 1500
    np.testing.assert_array_equal(batched["label"], single["label"])


@pytest.mark.parametrize(
    "split", ["trian", "train[", "train[abc]", "train[200%:]", "train[:99999]", "train+nope", ""]
)
def test_bad_split_names_flag_value_and_splits(numbers: Any, split: str) -> None:
    with pytest.raises(BadInput) as refused:
        load_split(numbers, split, ["label"], BUDGET, "validation_split")
    assert f"--validation_split={split}: " in str(refused.value)
    assert "train (3,000 examples)" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("split", ["train[:0]", "train[5:2]"])
def test_empty_split(numbers: Any, split: str) -> None:
    with pytest.raises(BadInput, match="is empty; --dataset=made has train"):
        load_split(numbers, split, ["label"], BUDGET, "train_split")


@pytest.mark.parametrize("feature", ["labels", "box"])
def test_missing_or_nested_feature(numbers: Any, feature: str) -> None:
    with pytest.raises(BadInput) as refused:
        load_split(numbers, "train", ["label", feature], BUDGET, "train_split")
    assert repr(feature) in str(refused.value)
    assert "it has label, small, half, flag, text." in str(refused.value)


def test_budget_is_checked_before_anything_is_decoded(
    numbers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "as_dataset", None)  # calling it would raise TypeError
    with pytest.raises(BadInput, match=r"--memory_budget_gib=.*split train, which takes"):
        load_split(numbers, "train", ["label", "half"], 3000 * 16 - 1, "train_split")


def test_budget_counts_text(numbers: Any) -> None:
    pointers, text = 3000 * 8, 3000
    assert load_split(numbers, "train", ["text"], pointers + text, "train_split")
    with pytest.raises(BadInput, match="--memory_budget_gib="):
        load_split(numbers, "train", ["text"], pointers + text - 1, "train_split")


def image_rows(*shapes: tuple[int, int, int]) -> list[dict[str, Any]]:
    return [{"image": np.full(shape, 7, np.uint8)} for shape in shapes]


@pytest.mark.parametrize("odd", [(5, 4, 3), (4, 4, 1)], ids=["size", "channels"])
def test_images_of_several_shapes_name_the_first_odd_row(
    tmp_path: Path, odd: tuple[int, int, int]
) -> None:
    features = {"image": tfds.features.Image(shape=(None, None, None))}
    builder = make(tmp_path, features, image_rows((4, 4, 3), (4, 4, 3), odd, (9, 9, 3)))
    with pytest.raises(BadInput) as refused:
        load_split(builder, "train", ["image"], BUDGET, "train_split")
    assert f"image has the shape {odd} in row 2 and (4, 4, 3)" in str(refused.value)


def test_images_of_unknown_but_equal_shape(tmp_path: Path) -> None:
    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    builder = make(tmp_path, features, image_rows(*[(4, 6, 3)] * 5))
    arrays = load_split(builder, "train", ["image"], 5 * 72, "train_split")
    assert arrays["image"].shape == (5, 4, 6, 3)
    assert (arrays["image"] == 7).all()
    with pytest.raises(BadInput, match="--memory_budget_gib="):
        load_split(builder, "train", ["image"], 5 * 72 - 1, "train_split")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_not_finite_names_feature_and_row(tmp_path: Path, value: float) -> None:
    rows = [{"price": [1.0, 2.0]} for _ in range(1500)]
    rows[1300] = {"price": [1.0, value]}
    features = {"price": tfds.features.Tensor(shape=(2,), dtype=np.float64)}
    builder = make(tmp_path, features, rows)
    with np.errstate(over="ignore"), pytest.raises(BadInput) as refused:
        load_split(builder, "train", ["price"], BUDGET, "train_split")
    assert "price is " in str(refused.value)
    assert "in row 1300;" in str(refused.value)


def shard_of(builder: Any) -> Path:
    return Path(builder.info.splits["train"].filepaths[0])


@pytest.mark.parametrize("damage", ["cut", "cut between records", "flipped", "removed"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    builder = make(tmp_path, {"x": np.int64}, [{"x": i} for i in range(2000)])
    shard = shard_of(builder)
    data = shard.read_bytes()
    if damage == "removed":
        shard.unlink()
    elif damage == "flipped":
        middle = len(data) // 2
        shard.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    else:
        # TensorFlow ends without an error where fewer than 12 bytes of a record are left.
        record = int.from_bytes(data[:8], "little") + 16
        shard.write_bytes(data[: 3 * record + (5 if damage == "cut between records" else 30)])
    with pytest.raises(BadInput) as refused:
        load_split(builder, "train", ["x"], BUDGET, "train_split")
    assert str(shard) in str(refused.value)
    assert "whole records of 2,000" in str(refused.value)
    assert "--mode=prepare" in str(refused.value)


def test_an_image_that_cannot_be_decoded_names_its_row(tmp_path: Path) -> None:
    import tensorflow as tf

    features = {"image": tfds.features.Image(shape=(2, 2, 1))}
    builder = make(tmp_path, features, image_rows(*[(2, 2, 1)] * 6))
    shard = str(shard_of(builder))
    records = [record.numpy() for record in tf.data.TFRecordDataset(shard)]
    records[4] = records[4].replace(b"PNG", b"GNP")
    with tf.io.TFRecordWriter(shard) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(BadInput, match="row 4 of split train cannot be decoded"):
        load_split(builder, "train", ["image"], BUDGET, "train_split")


@pytest.mark.parametrize(("label", "shape"), [(10, (7,)), (-1, (7,)), (10, (7, 3))])
def test_a_label_out_of_range_names_row_and_value(label: int, shape: tuple[int, ...]) -> None:
    labels = np.arange(np.prod(shape)).reshape(shape) % 10
    check_labels(labels, 10, "mnist", "train")
    labels[(5,) + (0,) * (len(shape) - 1)] = label
    with pytest.raises(BadInput) as refused:
        check_labels(labels, 10, "mnist", "train")
    assert "--dataset=mnist: row 5 of split train" in str(refused.value)
    assert f"label {label}, outside [0, 10)" in str(refused.value)


def test_fingerprint_tells_names_dtypes_shapes_and_bytes_apart() -> None:
    base: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.int64),
        "b": np.zeros((2, 2), np.float32),
    }
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].astype(np.uint64), "b": base["b"]},
        {"a": base["a"].reshape(2, 3), "b": base["b"]},
        {"a": base["a"][::-1], "b": base["b"]},
        {"a": np.array([b"ab", b"c"], object), "b": base["b"]},
        {"a": np.array([b"a", b"bc"], object), "b": base["b"]},
    ]
    assert len({fingerprint(arrays) for arrays in [base, *others]}) == 7
    assert fingerprint({"b": base["b"].copy(), "a": base["a"]}) == fingerprint(base)
    assert len(fingerprint(base)) == 64
