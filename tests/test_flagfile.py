"""A command line and a flagfile are one configuration; whatever else stands there is refused."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import made
from tests.support import ROOT, environment
from trainer.config import Config, configure, flat
from trainer.errors import BadInput
from trainer.flagfile import command, expand, help_text, parse, to_flagfile
from trainer.options import MOST_FLOAT
from trainer.tasks import image_classification

TASKS = {"image_classification": image_classification.Options, "tests.made": made.Options}
printable = st.text(st.characters(codec="utf-8")).filter(
    lambda text: text.isprintable() and text == text.strip()
)


def values_of(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that the field allows by itself."""
    default, meta = field.default, field.metadata
    if isinstance(default, tuple):
        items = scalars(meta["items"], meta)
        return st.lists(items.filter(lambda v: v != "" and "," not in str(v))).map(tuple)
    return scalars(type(default), meta)


def scalars(kind: type, meta: Any) -> st.SearchStrategy[Any]:
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    low, high, above = meta["min"], meta["max"], meta["above"]
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(low, high)
    if kind is float:
        low, open_low = (above, True) if above is not None else (low, False)
        return st.floats(low, MOST_FLOAT if high is None else high, exclude_min=open_low)
    return printable


# Values that hold together with others; the rest are drawn freely.
TOGETHER = {
    "optimizer_args": st.lists(
        st.sampled_from(["beta_1=0.5", "nesterov=true", "amsgrad=True", "name=mine"]), unique=True
    ).map(tuple),
    "schedule_boundaries": st.lists(st.integers(1, 999), unique=True).map(sorted).map(tuple),
    "profile_steps": st.sampled_from(["", "0:1", "100:110"]),
}


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    """Any configuration that is not refused, of a shipped or a user's task."""
    task = draw(st.sampled_from(sorted(TASKS)))
    parts = [*configure(task=task).parts.values()]
    fields = {f.name: f for part in parts for f in dataclasses.fields(part)} | {}
    names = draw(st.sets(st.sampled_from(sorted(fields.keys() - {"task"}))))
    values = {n: draw(TOGETHER.get(n, values_of(fields[n]))) for n in sorted(names)}
    if "schedule" in values or "schedule_boundaries" in values:
        rising = bool(values.get("schedule_boundaries"))
        values["schedule"] = "piecewise" if rising else "constant"
    try:
        return configure(task=task, **values)
    except BadInput:
        assume(False)
        raise


@settings(deadline=None)
@given(config=configurations())
def test_a_flagfile_gives_the_configuration_it_was_written_for(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    path = tmp_path_factory.mktemp("flags") / "config.flags"
    path.write_text(to_flagfile(config), encoding="utf-8")
    assert parse([f"--flagfile={path}"]) == config
    assert to_flagfile(parse([f"--flagfile={path}"])) == to_flagfile(config)


@settings(deadline=None)
@given(config=configurations())
def test_the_shortest_command_gives_it_too(config: Config) -> None:
    words = shlex.split(command(config))
    assert words[:3] == ["python", "-m", "trainer.main"]
    assert parse(words[3:]) == config


@settings(deadline=None)
@given(config=configurations(), data=st.data())
def test_the_environment_changes_nothing(config: Config, data: st.DataObject) -> None:
    """Neither variables named like flags, nor any that the parser might look at."""
    name = data.draw(st.sampled_from(sorted(flat(config))))
    variables = {
        form: data.draw(st.sampled_from(["7", "true", "--epochs=7", "tests.made"]))
        for form in (name, name.upper(), f"FLAGS_{name}", f"TRAINER_{name.upper()}", "FLAGFILE")
    }
    lines = to_flagfile(config).splitlines()
    with mock.patch.dict(os.environ, variables):
        assert parse([line for line in lines if not line.startswith("#")]) == config


def test_a_flagfile_is_read_alike_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "config.flags"
    config = configure(workdir="runs/größe-数")
    path.write_text(to_flagfile(config), encoding="utf-8")
    program = (
        "import sys; from trainer.flagfile import parse;"
        "print(ascii(parse(['--flagfile=' + sys.argv[1]]).run.workdir))"
    )
    plain = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    told = subprocess.run(
        [sys.executable, "-c", program, path], env=plain, capture_output=True, text=True
    )
    assert told.stdout.strip() == ascii(config.run.workdir), told.stderr


@given(numbers=st.lists(st.integers(1, 99), min_size=1))
def test_a_later_flag_overrides_an_earlier_one(numbers: list[int]) -> None:
    config = parse([f"--epochs={n}" for n in numbers])
    assert config.loop.epochs == numbers[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs=3", "--overwrite"],
        ["--epochs", "3", "--overwrite=true"],
        ["-epochs=3", "-overwrite"],
        ["--epochs=3", "--nooverwrite", "--overwrite=True"],
        ["--overwrite=1", "--epochs=3"],
    ],
)
def test_flags_may_be_written_in_several_ways(words: list[str]) -> None:
    assert parse(words) == configure(epochs=3, overwrite=True)


# --- flagfiles in flagfiles ---


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_flagfile_stands_for_its_lines_in_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "f.flags", "# a comment", "", "// another", "--epochs=5", "--seed=1")
    assert expand(["--epochs=4", f"--flagfile={path}", "--seed=2"]) == [
        "--epochs=4", "--epochs=5", "--seed=1", "--seed=2",
    ]  # fmt: skip
    config = parse(["--epochs=4", "--flagfile", str(path), "--seed=2"])
    assert (config.loop.epochs, config.run.seed) == (5, 2)


def test_flagfiles_are_found_from_the_current_folder_and_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "configs" / "base.flags", "--epochs=5", "--seed=1")
    write(tmp_path / "configs" / "mine.flags", "--flagfile=base.flags", "--seed=2")
    monkeypatch.chdir(tmp_path)
    config = parse(["--flagfile=configs/mine.flags"])
    assert (config.loop.epochs, config.run.seed) == (5, 2)


def test_one_flagfile_may_be_read_twice(tmp_path: Path) -> None:
    """Only a circle is refused."""
    base = write(tmp_path / "base.flags", "--epochs=5")
    one = write(tmp_path / "one.flags", f"--flagfile={base}")
    two = write(tmp_path / "two.flags", f"--flagfile={base}")
    assert parse([f"--flagfile={one}", f"--flagfile={two}"]).loop.epochs == 5


def refusal(*words: str) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(BadInput) as refused:
        parse(words)
    text = str(refused.value)
    assert "\n" not in text and text.isprintable()
    return text


def test_a_missing_flagfile_is_named() -> None:
    assert "--flagfile=no/such.flags is not a file" in refusal("--flagfile=no/such.flags")
    assert "--flagfile= is not a file" in refusal("--flagfile=")
    assert "--flagfile= is not a file" in refusal("--flagfile")


def test_a_folder_is_no_flagfile(tmp_path: Path) -> None:
    assert f"--flagfile={tmp_path} is not a file" in refusal(f"--flagfile={tmp_path}")


def test_what_is_no_text_is_no_flagfile(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"--epochs=\xff\xfe\n")
    assert f"--flagfile={path}" in refusal(f"--flagfile={path}")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_circle_of_flagfiles_is_refused(tmp_path: Path, number: int) -> None:
    paths = [tmp_path / f"{i}.flags" for i in range(number)]
    for i, path in enumerate(paths):
        write(path, "--epochs=2", f"--flagfile={paths[(i + 1) % number].name}")
    text = refusal(f"--flagfile={paths[0]}")
    assert "--flagfile=0.flags includes itself" in text
    assert str(paths[-1]) in text  # where the line is to be taken out


# --- what is refused ---


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--epoch=3", "--epochs"),
        ("--learning-rate=1", "--learning_rate"),
        ("--batch_size=8", "--eval_batch_size"),
        ("--widht=8", "--width"),  # an option of the task
        ("--noepoch", "--epochs"),
        ("--Seed=1", "--seed"),
    ],
)
def test_an_unknown_flag_gets_the_one_that_was_meant(word: str, meant: str) -> None:
    name = word.lstrip("-").partition("=")[0]
    text = refusal(word)
    assert text.startswith(f"--{name} is not a flag; did you mean {meant}")


def test_a_flag_like_no_other_is_sent_to_help() -> None:
    assert refusal("--qqqqqq=1") == "--qqqqqq is not a flag; see --help."


@pytest.mark.parametrize("words", [["stray"], ["--epochs=3", "stray"], ["--", "--epochs=3"], [""]])
def test_stray_words_are_refused(words: list[str]) -> None:
    text = refusal(*words)
    assert "write --name=value" in text
    assert words[-1] in text


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("--learning_rate=nan", "not a finite number"),
        ("--learning_rate=inf", "not a finite number"),
        ("--learning_rate=-inf", "not a finite number"),
        ("--learning_rate=1e400", "not a finite number"),
        ("--learning_rate=", "not a finite number"),
        ("--clip_norm=1e+300", "more than float32 can hold"),
        ("--train_steps=99999999999999999999", "at most 2147483647"),
        ("--learning_rate=fast", "not a finite number"),
        ("--learning_rate=-1", "at least 0"),
        ("--epochs=", "not an integer"),
        ("--epochs=3.0", "not an integer"),
        ("--epochs=1e3", "not an integer"),
        ("--epochs=nan", "not an integer"),
        ("--epochs=0", "at least 1"),
        ("--epochs=-3", "at least 1"),
        ("--seed=4294967296", "at most 2147483647"),
        ("--memory_budget_gib=0", "more than 0"),
        ("--ema_momentum=1", "at most 0.999999"),
        ("--dropout=1", "at most 0.99"),
        ("--optimizer=adan", "did you mean adam?"),
        ("--optimizer=", "not one of"),
        ("--precision=float16", "did you mean"),
        ("--loop=Tape", "did you mean tape?"),
        ("--model=convnett", "did you mean convnet?"),
        ("--overwrite=maybe", "maybe"),
        ("--schedule_boundaries=1,x", "not an integer"),
        ("--class_weights=1,-1", "at least 0"),
        ("--class_weights=1,nan", "not a finite number"),
        ("--task=image_clasification", "did you mean image_classification?"),
        ("--task=", "image_classification"),
        ("--workdir= runs", "spaces around"),
    ],
)
def test_a_bad_value_is_named_with_the_way_out(word: str, why: str) -> None:
    text = refusal(word)
    name, _, value = word.partition("=")
    assert text.startswith(name) or f"flag {name}" in text
    assert value.split(",")[-1] in text and why in text


def test_a_flag_without_its_value_is_refused() -> None:
    assert "--epochs" in refusal("--epochs")
    assert "--seed=3" in refusal("--epochs", "--seed=3")


@pytest.mark.parametrize("word", ["--undefok=epoch", "--undefok"])
def test_nothing_makes_an_unknown_flag_pass(word: str) -> None:
    """absl has a flag that does; a misspelt flag would go through in silence."""
    assert "--undefok" in refusal(word, "epoch", "--epoch=3")


# --- tasks ---


def test_a_users_task_brings_its_own_flags() -> None:
    config = parse(["--task=tests.made", "--examples=7", "--noise=0.5"])
    assert isinstance(config.task_options, made.Options)
    assert (config.task_options.examples, config.task_options.noise) == (7, 0.5)
    assert "--examples" in refusal("--examples=7")
    assert "at least 0" in refusal("--task=tests.made", "--examples=-1")


@pytest.mark.parametrize(
    "words",
    [
        ["--examples=7", "--task=tests.made"],
        ["--examples", "7", "--task", "tests.made"],
        ["--overwrite", "--examples", "7", "--task=tests.made"],
        ["--task=image_classification", "--examples=7", "--task=tests.made"],
    ],
)
def test_the_task_may_stand_anywhere(words: list[str]) -> None:
    assert parse(words).task_options.examples == 7


def test_a_tasks_option_may_not_take_a_flags_name(tmp_path: Path) -> None:
    program = """
import dataclasses, sys, types
from trainer import options
from trainer.options import option
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    epochs: int = option(3, "mine", minimum=1)
module = types.ModuleType("clash.task")
module.Options, module.Task = Options, object
sys.modules["clash"], sys.modules["clash.task"] = types.ModuleType("clash"), module
from trainer.flagfile import parse
try:
    parse(["--task=clash.task", "--epochs=4"])
except ValueError as refused:
    print(refused)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    assert "--task=clash.task: its option epochs is a flag already" in told.stdout, told.stderr


# --- help ---


def test_help_has_every_flag_once_by_part() -> None:
    lines = help_text(["--task=tests.made"]).splitlines()
    config = configure(task="tests.made")
    shown = [line.split("=")[0].strip() for line in lines if line.startswith("  --")]
    assert shown == [f"--{name}" for name in flat(config)]
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Run:", "Data:", "Loop:", "Step:", "Optimizer:", "Devices:", "Checkpoints:", "Callbacks:",
        "Evaluate, predict, export:",
        "Made images:",
    ]  # fmt: skip


def test_help_reads_the_task_from_a_flagfile(tmp_path: Path) -> None:
    path = write(tmp_path / "f.flags", "--task=tests.made")
    assert "--examples" in help_text([f"--flagfile={path}"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.flags")), ids=lambda p: p.name)
def test_every_config_parses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = parse([f"--flagfile={path}"])
    assert config.run.workdir == f"runs/{path.stem}"
    # its command stands in comments on top
    assert f"--flagfile=configs/{path.name}" in path.read_text()
