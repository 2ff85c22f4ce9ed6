"""Tables of numbers in CSV files: a line of names, then a line for each row.

A wrong cell is refused with its file and line: pandas and `make_csv_dataset` would turn its whole
column into text, or a blank into 0.
"""

from __future__ import annotations

import array
import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("trainer")

_MOST_NAMES = 20  # that a message lists


def header(path: str, *, example: str = "", flag: str = "csv") -> list[str]:
    """The names of the columns. Needs no NumPy: what is wrong here is said at once.

    Args:
        path: The file.
        example: Where the file of the task's example is to be had, if there is one.
        flag: The flag that names the file, for messages.

    Raises:
        BadInput: There is no such file, it cannot be read, or its first line has no names.
    """
    given = f"--{flag}={path}"
    if not Path(path).expanduser().exists():
        or_example = f", or get the example's from {example}" if example else "."
        raise BadInput(f"{given}: there is no such file; give one of yours{or_example}")
    _, names = next(_lines(path, flag), (0, []))
    for name in names:
        if not name or names.count(name) > 1:
            raise BadInput(
                f"{given}: a name in its first line is {'there twice' if name else 'blank'}: "
                f"{','.join(names)}; give each column a name of its own."
            )
    if not names:
        raise BadInput(f"{given} is empty; its first line must name the columns.")
    return names


def check_columns(flag: str, wanted: Sequence[str], names: Sequence[str], given: str) -> None:
    """Raises `BadInput` where a flag names a column that the table of a flag does not have."""
    for name in wanted:
        if name not in names:
            more = ", ..." if len(names) > _MOST_NAMES else ""
            raise BadInput(
                f"--{flag}={name} is no column of {given}, which has "
                f"{', '.join(names[:_MOST_NAMES])}{more}"
            )


def read(
    path: str,
    columns: Sequence[str],
    *,
    way_out: str,
    drop_blank: bool = False,
    flag: str = "csv",
) -> np.ndarray:
    """The numbers of some columns, in the order of the lines.

    Args:
        path: The file.
        columns: Their names, all of them in the first line.
        way_out: How to do without a wrong cell, for messages.
        drop_blank: Leave out rows with a blank cell in one of the columns, and say how many.
        flag: The flag that names the file, for messages.

    Returns:
        float64 `[rows, columns]`, every number finite as float32 too.

    Raises:
        BadInput: A line has too many or too few cells, or a cell that is no finite number.
    """
    import numpy as np

    given, lines = f"--{flag}={path}", _lines(path, flag)
    _, names = next(lines)
    places = [names.index(column) for column in columns]
    numbers, at_line, dropped = array.array("d"), array.array("q"), 0
    for line, cells in lines:
        if len(cells) != len(names):
            raise BadInput(
                f"{given}, line {line}: {len(cells)} cells for {len(names)} columns; mend it."
            )
        chosen = [cells[place] for place in places]
        if drop_blank and "" in chosen:
            dropped += 1
            continue
        try:
            numbers.extend([float(cell) for cell in chosen])
        except ValueError:
            raise _wrong_cell(given, line, columns, chosen, way_out) from None
        at_line.append(line)
    values = np.array(numbers).reshape(len(at_line), len(columns))
    wrong = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(wrong):
        row, column = wrong[0]
        raise BadInput(
            f"{given}, line {at_line[row]}: {columns[column]} is {values[row, column]}, not a "
            f"finite number of float32; mend it, or {way_out}."
        )
    if dropped:
        log.info("%s: %d rows with a blank cell left out, %d stay.", path, dropped, len(values))
    return values


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, the latter 1 where it would be 0.

    Args:
        values: `[rows, columns]` of the training split alone.
    """
    import numpy as np

    scale = values.std(axis=0)
    return values.mean(axis=0), np.where(scale == 0, 1.0, scale)


def _lines(path: str, flag: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers from 1, and cells without spaces around them; empty lines are passed over."""
    try:
        with open(Path(path).expanduser(), newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"--{flag}={path} cannot be read as UTF-8 CSV: {error}") from None


def _wrong_cell(
    given: str, line: int, columns: Sequence[str], cells: Sequence[str], way_out: str
) -> BadInput:
    """The refusal of a line of which one cell is no number."""
    for column, cell in zip(columns, cells, strict=True):
        try:
            float(cell)
        except ValueError:
            what = f"{cell!r}, not a number" if cell else "blank"
            return BadInput(f"{given}, line {line}: {column} is {what}; mend it, or {way_out}.")
    raise AssertionError("a cell is wrong")
