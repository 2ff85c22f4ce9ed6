"""TFDS's notation of splits, for what TFDS knows nothing of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import Data
from trainer.data import splits
from trainer.data.load import load
from trainer.data.splits import Part
from trainer.errors import BadInput
from trainer.source import Features, Source

SIZES = {"train": 1000, "test": 37}


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", [("train", 0, 1000)]),
        ("train[90%:]", [("train", 900, 1000)]),
        ("train[:10]+test[-7:]", [("train", 0, 10), ("test", 30, 37)]),
        ("test[33%:66%]", [("test", 12, 24)]),
        ("all", [("train", 0, 1000), ("test", 0, 37)]),
    ],
)
def test_the_notation_is_tfdss(split, wanted):
    assert splits.parts(split, SIZES, "train_split", "it") == [Part(*w) for w in wanted]


@given(size=st.integers(1, 10_000), percent=st.integers(1, 99))
def test_a_split_carved_off_shares_nothing_and_loses_nothing(size, percent):
    def found(split: str) -> list[Part]:
        try:
            return splits.parts(split, {"train": size}, "train_split", "it")
        except BadInput:  # nothing is left of a very small split
            return []

    train, validation = found(f"train[:{percent}%]"), found(f"train[{percent}%:]")
    assert splits.shared(train, validation) == 0
    assert splits.count(train) + splits.count(validation) == size
    assert splits.shared(train, found("train")) == splits.count(train)


@pytest.mark.parametrize("split", ["trian", "train[", "train[200%:]", "train[5:2]", "test[:0]", ""])
def test_a_wrong_notation_names_flag_and_splits(split):
    with pytest.raises(BadInput) as refused:
        splits.parts(split, SIZES, "validation_split", "--dataset=it")
    assert f"--validation_split={split}" in str(refused.value)
    assert "--dataset=it has train (1,000 examples), test (37 examples)" in str(refused.value)


def counted(made: list[str]) -> Source:
    def make(split: str) -> Features:
        made.append(split)
        return {"x": np.arange(10)}

    return Source(features=("x",), batch=lambda features: (features["x"],), make=make)


def test_slices_are_taken_of_what_a_task_makes(caplog):
    made: list[str] = []
    config = Data(train_split="train[:80%]", validation_split="train[80%:]")
    loaded = load(config, counted(made), "task")
    assert loaded.train["x"].tolist() == list(range(8))
    assert loaded.validation is not None and loaded.validation["x"].tolist() == [8, 9]
    assert made == ["train"]  # once
    assert not caplog.records


def test_examples_in_both_splits_are_said_aloud(caplog):
    load(Data(train_split="train", validation_split="train[-3:]"), counted([]), "task")
    (warning,) = caplog.records
    assert "--validation_split=train[-3:] share 3 examples" in warning.getMessage()
