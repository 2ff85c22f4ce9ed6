"""Both exports predict what the checkpoint predicts, without this project; nothing half stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import environment, trainer_main
from trainer.errors import OK

PLAIN = """
import sys
sys.modules["trainer"] = sys.modules["tests"] = None
import keras, numpy as np, tensorflow as tf
model = keras.saving.load_model("run/export/model.keras")
assert model.get_layer("hidden_norm").synchronized
served = tf.saved_model.load("run/export/saved_model")
for rows in (1, 2, 7):
    x = np.random.default_rng(rows).uniform(size=(rows, 4, 4, 1)).astype(np.float32)
    named = served.signatures["serving_default"](tf.constant(x))
    (logits,) = named.values()
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, rtol=1e-4, atol=1e-5)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, np.zeros(7), verbose=0)
"""


def test_it_is_exact_and_says_so(folder: Path, told: Any) -> None:
    done = told["exported"]
    assert done["checkpoint"] == told["evaluated"]["auto"]["checkpoint"]
    assert (done["averaged"], done["needs"], done["examples"]) == (True, [], 32)
    assert done["saved_model_difference"] <= done["tolerance"] == 1e-5
    assert json.loads((folder / "run" / "export" / "export.json").read_text())["takes"] == [
        "float32 [None, 4, 4, 1]"
    ]


def test_a_plain_process_loads_predicts_and_trains_it(folder: Path, told: Any) -> None:
    """Batches of any size; BatchNormalization stays synchronised, and is no trouble for it."""
    plain = [sys.executable, "-c", PLAIN]
    done = subprocess.run(plain, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_export_is_replaced_when_asked_to(told: Any) -> None:
    again = told["again"]
    assert again["code"] == OK, again
    for word in ("the best (val_loss)", "equal to the bit", "averaged weights", "of the largest"):
        assert word in again["stdout"]
    assert {"model.keras", "saved_model/saved_model.pb", "export.json"} <= set(told["left"])


def test_what_predicts_otherwise_when_reloaded_does_not_stay(told: Any) -> None:
    assert "model.keras predicts otherwise when reloaded, by" in told["lied"]["code"]
    assert told["lied"]["left"] == []
    assert [name for name in told["around"] if "lied" in name or name.startswith(".")] == []


@pytest.mark.slow
def test_of_a_gan_the_generator_alone_is_exported(tmp_path: Path) -> None:
    run = ["--task=gan", f"--workdir={tmp_path}", "--train_steps=2", "--progress=none"]
    trained = trainer_main(*run)
    assert trained.returncode == 0, trained.stderr
    done = trainer_main(*run, "--mode=export")
    assert done.returncode == 0, done.stderr
    assert "it takes float32 [None, 8]" in done.stdout and "imported" not in done.stdout
