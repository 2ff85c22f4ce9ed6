"""Windows over a table: which rows, in what scale, and what the linear forecasters reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support import ROOT, in_process
from tests.tasks.shared_data import shared_file
from trainer.config import Data
from trainer.data.load import load
from trainer.errors import BadInput
from trainer.tasks.forecasting import SPLITS, Options, Task

ROWS = 60


def write(folder: Path, rows: np.ndarray) -> str:
    """A table with a first column of times."""
    names = ",".join(f"c{i}" for i in range(rows.shape[1]))
    lines = [f"t{number}," + ",".join(map(repr, row.tolist())) for number, row in enumerate(rows)]
    path = folder / "t.csv"
    path.write_text(f"date,{names}\n" + "\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(5, 3, size=(ROWS, 2))


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray) -> str:
    return write(tmp_path_factory.mktemp("csv"), rows)


def starts(task: Task) -> dict[str, np.ndarray]:
    make = task.source().make
    assert make is not None
    return {split: make(split)["start"] for split in SPLITS}


sizes = st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))


@given(split_rows=sizes, look_back=st.integers(1, 12), horizon=st.integers(1, 8))
def test_each_split_forecasts_its_own_rows_and_all_of_them(
    csv: str, split_rows: tuple[int, ...], look_back: int, horizon: int
) -> None:
    train, val, test = split_rows
    assume(sum(split_rows) <= ROWS and min(val, test) >= horizon and train >= look_back + horizon)
    task = Task(Options(csv=csv, split_rows=split_rows, look_back=look_back, horizon=horizon))
    ends = np.cumsum(split_rows)
    for number, (split, start) in enumerate(starts(task).items()):
        forecast = start[:, None] + look_back + np.arange(horizon)
        first = look_back if split == "train" else ends[number - 1]
        assert start.min() >= 0
        np.testing.assert_array_equal(np.unique(forecast), np.arange(first, ends[number]))
        np.testing.assert_array_equal(np.diff(start), 1)


def test_windows_are_the_tables_rows_standardised_by_the_training_split(
    csv: str, rows: np.ndarray
) -> None:
    task = Task(Options(csv=csv, split_rows=(30, 15, 15), look_back=7, horizon=3))
    scaled = (rows - rows[:30].mean(0)) / rows[:30].std(0)
    for start in starts(task).values():
        past, future = task.source().batch({"start": start})
        assert past.dtype == future.dtype == "float32"
        for i, s in enumerate(start):
            np.testing.assert_allclose(past[i], scaled[s : s + 7], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(future[i], scaled[s + 7 : s + 10], rtol=1e-5, atol=1e-6)


def test_split_sizes_without_a_flag(csv: str) -> None:
    counts = [len(s) for s in starts(Task(Options(csv=csv, look_back=5, horizon=2))).values()]
    assert counts == [42 - 6, 6 - 1, 12 - 1]


def test_columns_can_be_chosen(csv: str, rows: np.ndarray) -> None:
    task = Task(Options(csv=csv, columns=("c1",), look_back=5, horizon=2))
    past, _ = task.source().batch({"start": np.array([0])})
    column = rows[:, 1]
    scaled = (column - column[:42].mean()) / column[:42].std()
    np.testing.assert_allclose(past[0, :, 0], scaled[:5], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"look_back": 40, "horizon": 3}, ["split train is too short", "--look_back=40"]),
        ({"look_back": 5, "horizon": 7}, ["split val is too short", "--horizon=7"]),
        ({"split_rows": (30, 15, 16), "look_back": 5, "horizon": 2}, ["61 rows", "has 60"]),
    ],
)
def test_what_does_not_fit_the_table_is_refused(
    csv: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BadInput) as refused:
        starts(Task(Options(csv=csv, **options)))
    for word in [f"--csv={csv}", *words]:
        assert word in str(refused.value)


def test_a_blank_names_its_line(tmp_path: Path, rows: np.ndarray) -> None:
    path = Path(write(tmp_path, rows))
    lines = path.read_text().splitlines()
    lines[9] = "t8,,1.0"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInput, match=r"line 10: c0 is blank; .* --columns"):
        starts(Task(Options(csv=str(path), look_back=5, horizon=2)))


def test_the_record_tells_another_table_from_this_one(tmp_path: Path, rows: np.ndarray) -> None:
    """The examples are places in the table alone, so their digest says nothing of the numbers."""
    digests = []
    for table in (rows, rows, rows + 1):
        task = Task(Options(csv=write(tmp_path, table), look_back=5, horizon=2))
        loaded = load(Data(validation_split="val"), task.source(), "forecasting")
        digests.append(loaded.fingerprints())
    assert digests[0] == digests[1]
    assert {name for name, digest in digests[2].items() if digest != digests[0][name]} == {
        str(tmp_path / "t.csv")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "mse", "mae"), [("nlinear", 0.374, 0.394), ("dlinear", 0.375, 0.399)]
)
def test_etth1_is_within_a_hundredth_of_the_paper(
    tmp_path: Path, model: str, mse: float, mae: float
) -> None:
    """Zeng et al., AAAI 2023, table 2: look-back 336, horizon 96."""
    flags = [
        f"--flagfile={ROOT}/configs/etth1_{model}.flags", f"--workdir={tmp_path}",
        f"--csv={shared_file('etth1/ETTh1.csv')}",
    ]  # fmt: skip
    found = in_process("tests.tasks.test_forecasting:errors_on_test", flags)
    assert abs(found[0] - mse) < 0.01 and abs(found[1] - mae) < 0.01, found


def errors_on_test(flags: list[str]) -> tuple[float, float]:
    """MSE and MAE on split test with the weights that were best on split val."""
    import trainer
    from trainer.flagfile import parse

    config = parse(flags)
    model = trainer.train(config).model
    source = Task(config.task_options).source()
    assert source.make is not None
    past, future = source.batch(source.make("test"))
    error = np.asarray(model.predict(past, batch_size=256, verbose=0) - future, np.float64)
    return float(np.mean(error**2)), float(np.mean(np.abs(error)))
