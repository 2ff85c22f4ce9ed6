"""CSV files of numbers: what is read is what stands there, and a wrong cell is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import environment, files_in, trainer_main
from trainer import table
from trainer.errors import BAD_INPUT, BadInput

WAY_OUT = "leave its column out"


def csv_file(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(path: str, columns: list[str], **how: bool) -> np.ndarray:
    return table.read(path, columns, way_out=WAY_OUT, **how)


numbers = st.floats(-1e30, 1e30, allow_subnormal=False)


@given(rows=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8))
def test_numbers_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]
) -> None:
    text = "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in rows)
    path = csv_file(tmp_path_factory.mktemp("csv"), text)
    np.testing.assert_array_equal(read(path, ["a", "b", "c"]), np.array(rows))
    np.testing.assert_array_equal(read(path, ["c", "a"]), np.array(rows)[:, [2, 0]])


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,4\n",
        "\ufeffa,b\r\n1,2\r\n\r\n3,4",
        'a , b\n 1,"2"\n3, 4\n',
        '"a","b"\n1,2\n3,4',
    ],
    ids=["plain", "from a spreadsheet", "spaces and quotes", "quoted names"],
)
def test_ways_to_write_the_same_table(tmp_path: Path, text: str) -> None:
    path = csv_file(tmp_path, text)
    assert table.header(path) == ["a", "b"]
    np.testing.assert_array_equal(read(path, ["a", "b"]), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,\n", ["line 3", "b is blank"]),
        ("a,b\n1,2\n\n3,usa\n", ["line 4", "b is 'usa'", "not a number"]),
        ("a,b\n1,?\n", ["line 2", "b is '?'"]),
        ("a,b\n1,2\nnan,4\n", ["line 3", "a is nan"]),
        ("a,b\n1,2\n3,-inf\n", ["line 3", "b is -inf"]),
        ("a,b\n1e39,2\n", ["line 2", "a is 1e+39", "float32"]),
    ],
)
def test_a_wrong_cell_names_file_line_and_column(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = csv_file(tmp_path, text)
    with pytest.raises(BadInput) as refused:
        read(path, ["a", "b"])
    for word in [f"--csv={path}, ", WAY_OUT, *words]:
        assert word in str(refused.value)


def test_a_wrong_cell_in_another_column_does_not_matter(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "name,x\nford,1\n,2\n")
    np.testing.assert_array_equal(read(path, ["x"]), [[1], [2]])


@pytest.mark.parametrize("row", ["1", "1,2,3"])
def test_a_ragged_line_is_refused(tmp_path: Path, row: str) -> None:
    path = csv_file(tmp_path, f"a,b\n1,2\n{row}\n")
    with pytest.raises(BadInput, match=rf"line 3: {len(row.split(','))} cells for 2 columns"):
        read(path, ["a"])


def test_rows_with_a_blank_can_be_left_out_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = csv_file(tmp_path, "a,b,c\n1,2,\n3,,\n4,5,\n")
    with caplog.at_level("INFO", logger="trainer"):
        values = read(path, ["a", "b"], drop_blank=True)
    np.testing.assert_array_equal(values, [[1, 2], [4, 5]])
    assert "1 rows with a blank cell left out, 2 stay" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b,a\n1,2,3\n", "there twice: a,b,a"),
        ("a,,b\n1,2,3\n", "blank: a,,b"),
        (b"a,\xff\n", "cannot be read as UTF-8 CSV"),
        ('a,"b\n1,2\n', "cannot be read as UTF-8 CSV"),
    ],
)
def test_a_wrong_first_line_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        table.header(csv_file(tmp_path, text))


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        table.header(str(tmp_path))


def test_a_constant_column_is_standardised_to_zero() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0]])
    mean, scale = table.mean_and_scale(values)
    np.testing.assert_array_equal((values - mean) / scale, [[-1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--task=forecasting"], ["--csv=data/ETTh1.csv", "no such file", "ETDataset"]),
        (["--task=csv_regression"], ["--csv=data/mpg.csv", "no such file", "seaborn-data"]),
        (["--task=forecasting", "--csv="], ["--csv=", "is empty"]),
        (["--task=forecasting", "--csv=t.csv", "--columns=a,z"], ["--columns=z", "a, b"]),
        (["--task=forecasting", "--csv=t.csv", "--split_rows=5,5"], ["--split_rows=5,5", "three"]),
        (["--task=csv_regression", "--csv=t.csv"], ["--target=mpg", "--csv=t.csv", "a, b"]),
        (["--task=csv_regression", "--csv=t.csv", "--target=a", "--inputs=a"], ["--target=a"]),
    ],
)
def test_what_the_first_line_shows_is_refused_before_tensorflow(
    tmp_path: Path, flags: list[str], words: list[str]
) -> None:
    csv_file(tmp_path, "a,b\n1,2\n")
    program = (
        "import sys; from trainer.main import main; code = main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'keras'} & set(sys.modules);"
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        env=environment(), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT, done.stderr
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words)
    assert files_in(tmp_path) == ["t.csv"]


def test_a_wrong_cell_ends_the_run_with_nothing_written(tmp_path: Path) -> None:
    csv_file(tmp_path, "a,b\n1,2\n3,\n")
    flags = ["--task=csv_regression", "--csv=t.csv", "--target=a", "--workdir=fresh"]
    done = trainer_main(*flags, cwd=tmp_path)
    assert done.returncode == BAD_INPUT, done.stderr
    assert done.stderr.splitlines()[-1].startswith("trainer: --csv=t.csv, line 3: b is blank")
    assert files_in(tmp_path) == ["t.csv"]
