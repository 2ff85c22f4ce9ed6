"""Any table of numbers, split and standardised without a look at the rows held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from tests.support import ROOT, in_process
from tests.tasks.shared_data import shared_file
from trainer.errors import BadInput
from trainer.source import DataInfo
from trainer.tasks.csv_regression import Options, Task

ROWS = 50


@pytest.fixture
def csv(tmp_path: Path) -> str:
    """Columns a, y, b: the row's number, its double, and noise."""
    noise = np.random.default_rng(0).normal(size=ROWS)
    lines = [f"{i},{2 * i},{noise[i]}" for i in range(ROWS)]
    path = tmp_path / "t.csv"
    path.write_text("a,y,b\n" + "\n".join(lines))
    return str(path)


def splits(csv: str, **options: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    make = Task(Options(csv=csv, target="y", **options)).source().make
    assert make is not None
    return make("train"), make("test")


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
def test_every_row_is_in_one_split(csv: str, fraction: float) -> None:
    train, test = splits(csv, test_fraction=fraction)
    assert len(test["row"]) == round(fraction * ROWS)
    numbers = np.concatenate([train["row"][:, 0], test["row"][:, 0]])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(ROWS))
    for split in (train, test):
        np.testing.assert_array_equal(split["target"][:, 0], 2 * split["row"][:, 0])


def test_the_split_is_drawn_by_its_seed_alone(csv: str) -> None:
    first, again, other = (splits(csv, split_seed=seed)[1]["row"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first[:, 0]) != set(other[:, 0])
    fewer = splits(csv, inputs=("a",))[1]["row"]
    np.testing.assert_array_equal(fewer, first[:, :1])


def test_statistics_are_those_of_the_training_split(csv: str) -> None:
    train, test = splits(csv)
    task = Task(Options(csv=csv, target="y"))
    info = DataInfo(name="t", shapes={"row": (2,), "target": (1,)}, num_classes={})
    model = task.model(info)
    kernel, bias = model.weights
    kernel.assign([[1.0], [0.0]])
    bias.assign([0.0])
    # the first input's standardised value, in the target's units: y = 2 a on any split
    for rows in (train, test):
        np.testing.assert_allclose(model(rows["row"]), rows["target"], rtol=1e-5, atol=1e-4)
    scaler = StandardScaler().fit(train["target"])
    _, _, weight = task.source().batch(test)
    np.testing.assert_allclose(weight, 1 / scaler.var_[0], rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.001, 0.01])
def test_an_empty_split_is_refused(csv: str, fraction: float) -> None:
    with pytest.raises(BadInput, match=f"--test_fraction={fraction} leaves a split of the 50 rows"):
        splits(csv, test_fraction=fraction)


def test_an_unknown_split_is_refused(csv: str) -> None:
    make = Task(Options(csv=csv, target="y")).source().make
    assert make is not None
    with pytest.raises(BadInput, match=r"no split val here.* train, test"):
        make("val")


def test_rows_of_another_file_are_read_for_prediction(csv: str, tmp_path: Path) -> None:
    task = Task(Options(csv=csv, target="y"))
    info = DataInfo(name="t", shapes={"row": (2,), "target": (1,)}, num_classes={})
    other = tmp_path / "other.csv"
    other.write_text("b,name,a\n0.5,ford,3\n0.25,fiat,4\n")
    number, features = task.read_input(str(other), info)
    np.testing.assert_array_equal(number["row"], [1, 2])
    np.testing.assert_array_equal(features["row"], [[3, 0.5], [4, 0.25]])
    row, _, _ = task.source().batch(features)
    prediction = np.asarray(task.model(info)(row))
    np.testing.assert_array_equal(task.describe(prediction, info)["y"], prediction[:, 0])

    other.write_text("b,a\n0.5,3\n,4\n")
    with pytest.raises(BadInput, match=f"--input={other}, line 3: b is blank"):
        task.read_input(str(other), info)
    other.write_text("b\n0.5\n")
    with pytest.raises(BadInput, match=f"--inputs=a is no column of --input={other}"):
        task.read_input(str(other), info)


def test_auto_mpg_against_ridge_regression_on_the_same_split(tmp_path: Path) -> None:
    """The linear model reaches what the exact solution does, the small network less."""
    path = shared_file("auto_mpg/mpg.csv")
    flags = [f"--flagfile={ROOT}/configs/auto_mpg.flags", f"--csv={path}", "--tensorboard=false"]
    ridge = in_process("tests.tasks.test_csv_regression:ridge_rmse", flags)
    found = {
        model: in_process(
            "tests.tasks.test_csv_regression:trained_rmse",
            [*flags, *more, f"--model={model}", f"--workdir={tmp_path / model}"],
        )
        for model, more in (("linear", ["--learning_rate=0.1"]), ("mlp", []))
    }
    assert abs(found["linear"] - ridge) < 0.05, (found, ridge)
    assert found["mlp"] < ridge - 0.3, (found, ridge)


def ridge_rmse(flags: list[str]) -> float:
    """Root mean squared error of scikit-learn's `Ridge()` on split test."""
    from trainer.flagfile import parse

    make = Task(parse(flags).task_options).source().make
    assert make is not None
    train, test = make("train"), make("test")
    scaler = StandardScaler().fit(train["row"])
    ridge = Ridge().fit(scaler.transform(train["row"]), train["target"][:, 0])
    error = ridge.predict(scaler.transform(test["row"])) - test["target"][:, 0]
    return float(np.sqrt(np.mean(error**2)))


def trained_rmse(flags: list[str]) -> float:
    """That of a run, after its last epoch."""
    import trainer
    from trainer.flagfile import parse

    return trainer.train(parse(flags)).final["val_rmse"]
