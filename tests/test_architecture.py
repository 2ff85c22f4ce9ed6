"""The shape that the project keeps: who imports whom, what stands where, how large it gets.

Read from the source: nothing is imported here. An import counts wherever it stands, at the top, in
a function or for the type checker: it says that one part has to know of another.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

# Lower rows first; within a row leftwards, so that a module imports only what stands before it.
# `data`, `callbacks` and `modes` are folders, whose own order is below.
ROWS = [
    ["errors", "options", "environment", "conditions", "config", "flagfile"],
    ["source", "task", "table", "state", "runtime", "optimizer", "remat", "crops", "mixing",
     "rand_augment"],
    ["data", "reduction", "measures", "meters", "step", "workdir", "recorded", "checkpoint",
     "callbacks"],
    ["assembly", "faults", "restored", "resume", "loop", "fit", "hooks", "compilation"],
    ["modes"],
    ["main"],
]  # fmt: skip
WITHIN = {
    "data": [
        "plan",
        "splits",
        "archives",
        "offline",
        "digits",
        "prepare",
        "stored",
        "arrays",
        "pictures",
        "records",
        "folders",
        "decoding",
        "readers",
        "pipeline",
        "service",
        "origins",
        "load",
    ],
    "callbacks": [
        "averages",
        "memory",
        "picture",
        "progress",
        "record",
        "tensorboard",
        "saving",
        "showing",
    ],
    "modes": ["prepare", "train", "evaluate", "predict", "reloaded", "export", "compare"],
}
# A task describes a problem: it knows the lower two rows, and networks; a network Keras alone.
ASIDE = {"tasks": [*ROWS[0], *ROWS[1], "models"], "models": [*ROWS[0], "remat"]}

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("tasks.image_classification", "data.arrays"): (
        "the check of labels, which every task with classes shares; delayed, since it needs NumPy"
    ),
    ("tasks.image_classification", "data.pictures"): "reading --input; delayed likewise",
}

# Over 250 lines, with the reason.
LONG_FILES = {
    "trainer/tasks/image_classification.py": "half of it is flags and their refusals",
    "trainer/config.py": "a table of the flags and the conditions between them: all of it in view",
    "trainer/step.py": "the step, whole, in one file: nothing of it is understood without the rest",
    "trainer/checkpoint.py": "writing, restoring and telling damage are one format",
}
LONG_FUNCTIONS: dict[str, str] = {}
MOST_LINES, MOST_FUNCTION_LINES = 250, 60


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_of(path: Path) -> str:
    """`trainer/data/plan.py` as `data.plan`; the package itself is empty."""
    parts = path.relative_to(ROOT / "trainer").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sources("trainer")}


def imports(path: Path) -> Iterator[str]:
    """The project's modules that a file imports, wherever in it."""
    for node in ast.walk(parsed(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "trainer":
                # `from trainer.data.plan import cut` names a module and what is in it
                yield rest if rest in MODULES else rest.rpartition(".")[0]


def place(module: str) -> tuple[int, int, int]:
    """Row, place in the row, place in its folder."""
    part, _, rest = module.partition(".")
    for number, row in enumerate(ROWS):
        if part in row:
            inner = WITHIN.get(part, []).index(rest) if rest else -1
            return number, row.index(part), inner
    raise AssertionError(f"trainer/{module} stands in no row of this test")


LAYERED = [m for m in MODULES if m and m.partition(".")[0] not in ASIDE]


def test_every_module_has_its_place() -> None:
    listed = {part for row in ROWS for part in row}
    listed |= {f"{folder}.{name}" for folder, names in WITHIN.items() for name in names}
    assert {m for m in MODULES if m and m.partition(".")[0] not in ASIDE} == listed


@pytest.mark.parametrize("module", LAYERED)
def test_imports_go_to_lower_rows_or_leftwards(module: str) -> None:
    for imported in imports(MODULES[module]):
        if (module, imported) not in EXCEPTIONS and imported:
            assert imported.partition(".")[0] not in ASIDE, f"{module} imports {imported}"
            assert place(imported) < place(module), f"{module} imports {imported}"


@pytest.mark.parametrize(
    "module", [m for m in MODULES if "." in m and m.partition(".")[0] in ASIDE]
)
def test_tasks_and_models_know_little(module: str) -> None:
    allowed = ASIDE[module.partition(".")[0]]
    for imported in imports(MODULES[module]):
        known = imported.partition(".")[0] in allowed or (module, imported) in EXCEPTIONS
        assert known, f"{module} imports {imported}"


def test_every_exception_is_needed() -> None:
    for (module, imported), reason in EXCEPTIONS.items():
        assert reason and imported in set(imports(MODULES[module]))


def test_the_package_itself_imports_the_configuration_alone() -> None:
    """At its top: each `import trainer.x` runs it first."""
    top = [node for node in parsed(MODULES[""]).body if isinstance(node, ast.ImportFrom)]
    own = [node.module for node in top if (node.module or "").startswith("trainer")]
    assert own == ["trainer.config"]


def heavy_at_the_top(path: Path) -> set[str]:
    """What a file imports when it is imported, of what takes seconds."""
    found = set()
    for node in parsed(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found & {"keras", "numpy", "tensorflow", "tensorflow_datasets", "tensorboard", "sklearn"}


def test_flags_are_read_without_tensorflow() -> None:
    """Row 0, main and what it imports, and the tasks' files."""
    light = [*ROWS[0], "main", "source", "task", "table", "data.offline", "data.archives", ""]
    light += [module for module in MODULES if module.startswith("tasks")]
    for module in light:
        assert heavy_at_the_top(MODULES[module]) == set(), module


# --- what stands where ---


def uses(path: Path, *names: str) -> bool:
    """Whether an attribute or a name of these stands in a file's code."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.Name) and node.id in names)
        for node in ast.walk(parsed(path))
        if not isinstance(node, ast.Constant)
    )


def in_annotations_only(path: Path, name: str) -> bool:
    """Whether the name is called nowhere."""
    return not any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
        for node in ast.walk(parsed(path))
    )


def test_the_training_tape_stands_in_the_step_alone() -> None:
    """And in what `fit` is given where Keras has no compiled form."""
    with_tape = [str(p.relative_to(ROOT)) for p in sources("trainer") if uses(p, "GradientTape")]
    assert with_tape == ["trainer/models/gan.py", "trainer/step.py"]


def test_absl_is_used_where_flags_are_parsed_alone() -> None:
    with_absl = []
    for path in sources("trainer", "benchmarks"):
        for node in ast.walk(parsed(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] == "absl" for name in names):
                with_absl.append(str(path.relative_to(ROOT)))
    assert with_absl == ["trainer/flagfile.py"]


def test_one_strategy_is_made_in_one_place() -> None:
    """A second one breaks the first's collectives."""
    names = ("MirroredStrategy", "MultiWorkerMirroredStrategy", "OneDeviceStrategy")
    made = [
        str(path.relative_to(ROOT))
        for path in sources("trainer", "benchmarks")
        for name in names
        if uses(path, name) and not in_annotations_only(path, name)
    ]
    assert made == ["trainer/runtime.py"]


def test_nothing_is_printed_but_results() -> None:
    """What is said on the way goes to the log."""
    printing = [
        str(path.relative_to(ROOT))
        for path in sources("trainer")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert set(printing) <= {
        "trainer/main.py",
        "trainer/modes/compare.py",
        "trainer/modes/train.py",
        "trainer/modes/prepare.py",
        "trainer/modes/evaluate.py",
        "trainer/modes/predict.py",
        "trainer/modes/export.py",
    }


def test_no_file_is_called_for_being_useful() -> None:
    names = {path.stem for path in sources("trainer", "benchmarks", "tests")}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}


# --- sizes ---


@pytest.mark.parametrize(
    "path", sources("trainer", "benchmarks"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_files_and_functions_stay_short(path: Path) -> None:
    name, lines = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8").count("\n")
    if name in LONG_FILES:
        assert lines > MOST_LINES, f"{name} is short again: take it off the list"
        assert lines <= 450, f"{name} has {lines} lines: no reason is good enough"
    else:
        assert lines <= MOST_LINES, f"{name} has {lines} lines"
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if f"{name}:{node.name}" not in LONG_FUNCTIONS:
                assert length <= MOST_FUNCTION_LINES, f"{name}:{node.name} has {length} lines"


def test_every_long_file_is_there() -> None:
    assert all((ROOT / name).is_file() for name in LONG_FILES)


@pytest.mark.parametrize(
    "path", sources("trainer", "benchmarks"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_is_public_is_documented(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in ast.walk(tree):
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public and node in tree.body:
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"
