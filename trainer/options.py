"""A dataclass field that is a flag, and the check that each value goes through."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any

from trainer.errors import BadInput

# TensorFlow's counters and numbers are int32 and float32; two integers' product is an int64.
MOST_INT, MOST_FLOAT = 2**31 - 1, 3.4028234e38


def option(
    default: Any,
    help: str,
    *,
    items: type = str,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: Its value when not given, which also gives its type: `int`, `float`, `bool`, `str`,
            or a tuple (comma-separated on the command line).
        help: What `--help` says.
        items: The type of a tuple's items.
        choices: The values allowed, for strings.
        minimum: The smallest value allowed.
        maximum: The largest value allowed; for integers 2,147,483,647 at most.
        above: A bound that the value must exceed.
    """
    kind = items if isinstance(default, tuple) else type(default)
    if kind is int and maximum is None:
        maximum = MOST_INT
    bounds = {"min": minimum, "max": maximum, "above": above}
    meta = {"help": help, "items": items, "choices": choices, **bounds}
    return dataclasses.field(default=default, metadata=meta)


class Options:
    """Base of every part of the configuration: each value is checked when it is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _checked(self, field))


def _checked(part: Any, field: dataclasses.Field[Any]) -> Any:
    """The field's value in its own type, or `BadInput`."""
    if "help" not in field.metadata:
        raise TypeError(f"{type(part).__name__}.{field.name} must be made with option(...).")
    value = getattr(part, field.name)
    if not isinstance(field.default, tuple):
        return _scalar(field, type(field.default), value)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadInput(f"--{field.name}={value!r} is not a list; give --{field.name} one.")
    items = tuple(_scalar(field, field.metadata["items"], v) for v in value)
    if any(v == "" or "," in str(v) for v in items):  # which no flagfile could hold
        given = ",".join(map(str, items))
        raise BadInput(f"--{field.name}={given} has an item that is empty or holds a comma.")
    return items


def _scalar(field: dataclasses.Field[Any], kind: type, value: Any) -> Any:
    meta, given = field.metadata, f"--{field.name}={value}"
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadInput(f"{given!s} is not of type {kind.__name__}; give --{field.name} one.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{given} is not a finite number; give --{field.name} one.")
    if isinstance(value, float) and abs(value) > MOST_FLOAT:
        raise BadInput(f"{given} is more than float32 can hold; give --{field.name} less.")
    if isinstance(value, str) and (value != value.strip() or not value.isprintable()):
        raise BadInput(f"--{field.name}={value!r} has control characters or spaces around it.")
    if meta["choices"] is not None and value not in meta["choices"]:
        hint = near(str(value), meta["choices"])
        raise BadInput(f"{given} is not one of {', '.join(meta['choices'])}{hint}")
    if value == "" and isinstance(field.default, str) and field.default:
        raise BadInput(f"{given} is empty; give it a value, or leave the flag out.")
    for wrong, bound in (
        (meta["min"] is not None and value < meta["min"], f"at least {meta['min']}"),
        (meta["max"] is not None and value > meta["max"], f"at most {meta['max']}"),
        (meta["above"] is not None and value <= meta["above"], f"more than {meta['above']}"),
    ):
        if wrong:
            raise BadInput(f"{given} is out of range: --{field.name} must be {bound}.")
    return value


def near(given: str, known: Sequence[str], prefix: str = "") -> str:
    """The end of a refusal: the known name that was probably meant."""
    close = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else "; see --help."
