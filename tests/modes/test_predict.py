"""Predictions as CSV: from images and from rows of a table."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import trainer_main
from tests.test_main import HELP_SECONDS, assert_refused
from trainer.errors import BAD_INPUT, OK


def test_images_give_what_the_exported_model_gives(folder: Path, told: Any) -> None:
    """Grey as it is, and grey stored as RGB made grey again; text among them is passed over."""
    import keras

    predicted = told["predicted"]
    assert predicted["file"] == ["images/a.png", "images/more/b.PNG"]
    model = keras.saving.load_model(folder / "run" / "export" / "model.keras")
    logits = model(told["images"].astype(np.float32) / 255, training=False)
    odds = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    assert list(predicted["label"]) == list(odds.argmax(axis=-1))
    np.testing.assert_allclose(predicted["probability"], odds.max(axis=-1), rtol=1e-5)


def test_a_table_is_printed_as_csv_and_nothing_else(told: Any) -> None:
    printed = told["tables"]["printed"]
    assert printed["code"] == OK and printed["left"] == [], printed
    rows = list(csv.DictReader(printed["stdout"].splitlines()))
    assert [row["row"] for row in rows] == ["2", "3", "4"]
    sums = [float(row["sum"]) for row in rows]
    assert sums == pytest.approx([0.75, 0.625, 0.0], abs=0.05)


def test_a_table_is_written_to_a_file(folder: Path, told: Any) -> None:
    """In batches of 2: the same numbers, which a dot product of two cannot round otherwise."""
    written = told["tables"]["written"]
    assert written["stdout"] == "3 predictions in sums.csv.\n"
    assert written["left"] == ["sums.csv"]
    assert (folder / "sums.csv").read_text() == told["tables"]["printed"]["stdout"]


def test_without_input_it_is_refused_before_tensorflow() -> None:
    began = time.monotonic()
    done = trainer_main("--mode=predict")
    assert time.monotonic() - began < HELP_SECONDS
    assert done.returncode == BAD_INPUT
    assert_refused(done.stderr, "--mode=predict", "--input=")
