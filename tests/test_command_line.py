"""The command line, frozen: a changed flag is a decision that shows in a golden file.

After a change that is meant, write the file anew and look at the difference:

    python -m tests.test_command_line --update
    git diff tests/command_line.txt
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from trainer.config import configure, flat
from trainer.flagfile import as_text, help_text

GOLDEN = Path(__file__).with_name("command_line.txt")
TASKS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[1] / "trainer" / "tasks").glob("*.py")
    if path.stem != "__init__"
)


def described(field: dataclasses.Field[Any]) -> str:
    """A flag's type, default, choices and bounds; what help says of it may change."""
    kind, meta = type(field.default).__name__, field.metadata
    if isinstance(field.default, tuple):
        kind = f"list of {meta['items'].__name__}"
    words = [f"--{field.name}", kind, f"default {as_text(field.default)!r}"]
    if meta["choices"]:
        words.append(f"one of {', '.join(meta['choices'])}")
    for bound, name in (("min", "at least"), ("max", "at most"), ("above", "more than")):
        if meta[bound] is not None:
            words.append(f"{name} {meta[bound]}")
    return "  ".join(words)


def command_line() -> str:
    """Every flag by its part, and those of every shipped task, in the order of --help."""
    parts = {name: part for name, part in configure().parts.items() if name != "task_options"}
    parts |= {f"task {task}": configure(task=task).task_options for task in TASKS}
    lines = []
    for name, part in parts.items():
        lines += [name, *(f"  {described(f)}" for f in dataclasses.fields(part)), ""]
    return "\n".join(lines)


def test_the_command_line_is_the_one_that_was_decided() -> None:
    now, decided = command_line().splitlines(), GOLDEN.read_text().splitlines()
    assert now == decided, "if this is meant: python -m tests.test_command_line --update"


def test_help_shows_what_is_frozen() -> None:
    shown = [line.strip().partition("=")[0] for line in help_text([]).splitlines()]
    wanted = [f"--{name}" for name in flat(configure())]
    frozen = [line.split()[0] for line in command_line().splitlines() if line.startswith("  --")]
    assert set(wanted) <= set(frozen)
    assert [line for line in shown if line.startswith("--")] == wanted


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("python -m tests.test_command_line --update")
    GOLDEN.write_text(command_line())
