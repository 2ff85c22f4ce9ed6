"""Flags and flagfiles in, `Config` out, and back."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from trainer.config import Config, Run, configure, task_module
from trainer.errors import BadInput
from trainer.options import near


def parse(arguments: Sequence[str]) -> Config:
    """The configuration that a command line asks for.

    Args:
        arguments: The command line after the program's name; `--flagfile=F` anywhere in it stands
            for the lines of F. A later flag overrides an earlier one.

    Raises:
        BadInput: Naming the flag, the value and the way out.
    """
    arguments = expand(arguments)
    task = _task(arguments)
    fields = {f.name: f for part in _parts(task).values() for f in dataclasses.fields(part)}
    values = _flag_values(list(fields.values()))
    try:
        stray = values(["trainer", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise BadInput(
            f"--{error.flagname} is not a flag{near(error.flagname, list(fields), '--')}"
        ) from None
    except flags.Error as error:
        raise BadInput(f"{str(error).splitlines()[0].rstrip('.')}; see --help.") from None
    if stray:
        raise BadInput(f"{stray[0]!r} is no flag; write --name=value, without stray words.")
    given = {n: values[n].value for n in fields if values[n].present}
    return configure(**{n: _value(fields[n], text) for n, text in given.items()})


def expand(arguments: Sequence[str], within: tuple[Path, ...] = ()) -> list[str]:
    """Replaces each `--flagfile=F` by the lines of F.

    F is looked for from the current folder, then beside the flagfile that names it. Lines that
    begin with # or // are comments.

    Raises:
        BadInput: F is missing, no text, or includes itself.
    """
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name.lstrip("-") == "undefok":  # absl's own: it lets unknown flags pass
            raise BadInput(f"{name} is not a flag; see --help.")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        value = value if equals else next(rest, "")
        path = _find(value, within)
        if path in within:
            raise BadInput(
                f"--flagfile={value} includes itself; take the line out of {within[-1]}."
            )
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError:
            raise BadInput(f"--flagfile={value} is no text in UTF-8; name a flagfile.") from None
        kept = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += expand(kept, (*within, path))
    return expanded


def _find(value: str, within: tuple[Path, ...]) -> Path:
    folders = [Path()] + [p.parent for p in within[-1:]]
    for folder in folders:
        path = (folder / Path(value).expanduser()).resolve()
        if value and path.is_file():
            return path
    raise BadInput(f"--flagfile={value} is not a file; configs/ holds the ones that come along.")


def _task(arguments: Sequence[str]) -> str:
    """First pass: `--task` alone, whatever else stands there."""
    values = _flag_values([f for f in dataclasses.fields(Run) if f.name == "task"])
    try:
        values(["trainer", *arguments], known_only=True)
    except flags.Error as error:
        raise BadInput(f"{str(error).splitlines()[0].rstrip('.')}; see --help.") from None
    return str(values["task"].value) if values["task"].present else Run.task


def _parts(task: str) -> dict[str, Any]:
    """The dataclasses of a configuration by their heading in `--help`."""
    config = configure(task=task)
    return {_heading(part): type(part) for part in config.parts.values()}


def _heading(part: Any) -> str:
    return (type(part).__doc__ or type(part).__name__).splitlines()[0].rstrip(".")


def _flag_values(fields: Sequence[dataclasses.Field[Any]]) -> flags.FlagValues:
    """absl's parser over these fields; values stay text, so that one place converts them."""
    values = flags.FlagValues()
    for field in fields:
        boolean = isinstance(field.default, bool)
        define = flags.DEFINE_bool if boolean else flags.DEFINE_string
        define(field.name, None, field.metadata["help"], flag_values=values)
    return values


def _value(field: dataclasses.Field[Any], text: Any) -> Any:
    """The text of a flag in the type of its default."""
    if isinstance(text, bool):
        return text
    if not isinstance(field.default, tuple):
        return _scalar(field, type(field.default), text)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(_scalar(field, field.metadata["items"], part) for part in parts)


def _scalar(field: dataclasses.Field[Any], kind: type, text: str) -> Any:
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        article = "an integer" if kind is int else "a finite number"
        raise BadInput(f"--{field.name}={text} is not {article}; give --{field.name} one.")
    return value


def to_flagfile(config: Config) -> str:
    """The flagfile that gives this very `Config`, every flag spelt out."""
    lines = []
    for part in config.parts.values():
        lines.append(f"# {_heading(part)}")
        lines += [f"--{f.name}={as_text(getattr(part, f.name))}" for f in dataclasses.fields(part)]
    return "\n".join(lines) + "\n"


def as_text(value: Any) -> str:
    """A flag's value as the command line has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(as_text(v) for v in value)
    return repr(value) if isinstance(value, float) else str(value)


def command(config: Config) -> str:
    """The shortest command that gives this configuration."""
    default = configure(task=config.run.task)
    words = ["python", "-m", "trainer.main"]
    for name, part in config.parts.items():
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name == "task" or value != getattr(getattr(default, name), field.name):
                words.append(f"--{field.name}={as_text(value)}")
    return shlex.join(words)


def help_text(arguments: Sequence[str]) -> str:
    """What `--help` prints: every flag by part, those of the given task among them."""
    task = _task([a for a in expand(arguments)])
    task_module(task)
    lines = [
        "python -m trainer.main [--flagfile=configs/NAME.flags] [--name=value ...]",
        "",
        "Later flags override earlier ones. The flags of --task=" + task + " stand last.",
    ]
    for heading, part in _parts(task).items():
        lines += ["", f"{heading}:"]
        for field in dataclasses.fields(part):
            lines += _flag_help(field)
    return "\n".join(lines)


def _flag_help(field: dataclasses.Field[Any]) -> list[str]:
    choices = field.metadata["choices"]
    value = "|".join(choices) if choices else type(field.default).__name__
    default = as_text(field.default)
    shown = f" (default: {default})" if default else ""
    return [f"  --{field.name}=<{value}>", f"      {field.metadata['help']}{shown}"]
