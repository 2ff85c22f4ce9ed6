"""`run.json`: what ran, on what, and what came of it."""

from __future__ import annotations

import math
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from trainer.config import Config, flat
from trainer.errors import Preempted
from trainer.flagfile import command
from trainer.meters import Meters
from trainer.state import TrainState
from trainer.workdir import write_json

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


class Record(keras.callbacks.Callback):
    """Writes the run's record when training begins, after each epoch, and at the end.

    Args:
        path: The file.
        config: What was asked for.
        state: Where training stands.
        meters: How fast it is.
        devices: The replicas' devices.
        data: The dataset's name and a digest of each split.
        larger_is_better: Whether the best metric is the largest.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        state: TrainState,
        meters: Meters,
        devices: tuple[str, ...],
        data: dict[str, Any],
        larger_is_better: bool,
    ) -> None:
        super().__init__()
        self.path, self.state, self.meters = path, state, meters
        self.metric = config.checkpoint.best_metric
        self.sign = 1 if larger_is_better else -1
        self.final: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.facts = {
            "command": command(config),
            "flags": flat(config),
            "seed": config.run.seed,
            "devices": list(devices),
            "data": data,
            "git_revision": _git_revision(),
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in PACKAGES},
            "machine": {"system": platform.platform(), "gpus": _gpus()},
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }

    def get_state(self) -> dict[str, Any]:
        """What outlives a restart."""
        return {"final": self.final, "best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.final, self.best = state["final"], state["best"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """The facts that are known by then."""
        self.write("running")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """The metrics so far."""
        self.final = dict(logs or {})
        now, best = (m.get(self.metric, math.nan) for m in (self.final, self.best))
        better = math.isnan(best) or self.sign * now > self.sign * best
        if better and not math.isnan(now):
            self.best = {**self.final, "epoch": epoch + 1, "step": self.state.step}
        self.write("running")

    def stopped(self, stop: BaseException) -> None:
        """How a run ended that did not get to its end; nothing where it never began."""
        if self.path.exists():
            self.write("preempted" if isinstance(stop, Preempted) else "failed")

    def write(self, status: str) -> None:
        """Replaces the file; when all is done, with a digest of the weights."""
        result = {
            "status": status,
            "step": self.state.step,
            "epochs": self.state.epoch,
            "skipped_steps": self.state.skipped,
            **self.meters.speeds,
            "final": self.final,
            "best": self.best,
            "weights_sha256": self.state.digest() if status == "done" else None,
        }
        write_json(self.path, {**result, **self.facts})


def _git_revision() -> str:
    """Of the folder that training was started in, where that is a repository."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.strip()


def _gpus() -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in gpus]
