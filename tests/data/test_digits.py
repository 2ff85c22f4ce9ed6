"""The embedded dataset is scikit-learn's, image for image."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from trainer.data.arrays import load_split
from trainer.data.prepare import open_builder, prepare


def test_digits_are_scikit_learns_in_their_order(tmp_path: Path) -> None:
    builder = open_builder("digits", str(tmp_path))
    prepare(builder)
    train = load_split(builder, "train", ["image", "label"], 2**20, "train_split")
    test = load_split(builder, "test", ["image", "label"], 2**20, "validation_split")
    assert (len(train["label"]), len(test["label"])) == (898, 899)

    images = np.concatenate([train["image"], test["image"]])
    labels = np.concatenate([train["label"], test["label"]])
    original = load_digits()
    np.testing.assert_array_equal(labels, original.target)
    np.testing.assert_array_equal(images[..., 0], np.minimum(original.images * 16, 255))
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    assert images.max() == 255


def test_preparing_again_changes_nothing(tmp_path: Path) -> None:
    prepare(open_builder("digits", str(tmp_path)))
    info = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
    before = info.stat().st_mtime_ns
    prepare(open_builder("digits:1.0.0", str(tmp_path)))
    assert info.stat().st_mtime_ns == before
