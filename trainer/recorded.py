"""What a run left in its workdir, read back: its record and the course of its metrics."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from trainer.config import Config
from trainer.errors import BadInput

# What a clock says is never twice the same.
CLOCKED = ("loop/step_seconds", "loop/examples_per_second", "loop/input_wait_share")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A run as it stands on disk.

    Attributes:
        workdir: Where.
        record: What `run.json` holds.
        series: Name to step to value: `batch/loss`, `val_loss`, `loop/grad_norm`, ...; empty where
            the run wrote no summaries.
    """

    workdir: Path
    record: dict[str, Any]
    series: dict[str, dict[int, float]]


def record_of(config: Config) -> Path:
    """The record of the run that `--workdir`, or else `--checkpoint`, names."""
    workdir = Path(config.run.workdir).expanduser()
    given = Path(config.trained.checkpoint).expanduser()
    elsewhere = len(given.parts) > 1 and given.is_dir()
    return (given.resolve().parents[1] if elsewhere else workdir) / "run.json"


def no_record(config: Config) -> BadInput:
    """What is said where that is not there, or tells nothing."""
    return BadInput(
        f"--workdir={config.run.workdir}: there is no {record_of(config)} that tells what a run "
        "was trained on; name the folder of a run, or train first."
    )


def read(workdir: str) -> Recorded:
    """Reads a run.

    Raises:
        BadInput: There is none in that folder.
    """
    folder = Path(workdir).expanduser()
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"--runs={workdir} has no run.json that can be read ({type(error).__name__}); give the "
            "--workdir of a run."
        ) from None
    tensorboard = folder / "tensorboard"
    series = _scalars(tensorboard / "train")
    for name, values in _scalars(tensorboard / "validation").items():
        series["val_" + name.removeprefix("epoch/")] = values
    return Recorded(folder, record, {k: v for k, v in series.items() if k not in CLOCKED})


def _scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Of all event files in a folder; what a restarted run did again counts as it was last."""
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    series: dict[str, dict[int, float]] = {}
    for name in events.Tags()["tensors"]:
        for event in events.Tensors(name):
            value = make_ndarray(event.tensor_proto)
            if value.ndim == 0 and value.dtype.kind == "f":
                series.setdefault(name, {})[event.step] = float(value)
    return series
