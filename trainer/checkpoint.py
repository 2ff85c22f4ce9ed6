"""What is saved, whole or not at all.

`<workdir>/checkpoints/step-00001234-epoch-0012/` holds TensorFlow's files of all variables,
`numbers.npz` with what the loop remembers besides, and `manifest.json`, written last: a folder
without a manifest, or with a file that is not as the manifest says, does not count. No folder is
written twice.
"""

# Over 250 lines: writing, reading and what makes a checkpoint count belong together.

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Checkpoint
from trainer.errors import BadInput
from trainer.state import TrainState

log = logging.getLogger("trainer")

LARGER_IS_BETTER = (
    "acc", "auc", "precision", "recall", "f1", "iou", "r2", "bleu", "covered", "quality",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint that counts.

    Attributes:
        folder: Where it lies.
        manifest: Step, metrics, files and architecture.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        """Global batches consumed when it was saved."""
        return int(self.manifest["step"])


def larger_is_better(metric: str) -> bool:
    """What a metric's name says of it."""
    return any(part in metric for part in LARGER_IS_BETTER)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        workdir: The run's folder.
        state: What is saved and restored.
        config: How many to keep.
    """

    def __init__(self, workdir: Path, state: TrainState, config: Checkpoint) -> None:
        self.folder = workdir / "checkpoints"
        self.state, self.config = state, config
        self._variables = state.variables()
        self._tracked = tf.train.Checkpoint(**self._variables)
        self._damaged: set[Path] = set()

    def save(self, metrics: dict[str, float]) -> Path:
        """Writes the state under its step, unless it is there; then deletes what is not kept.

        Args:
            metrics: The latest logs, by which the best are chosen.

        Returns:
            The checkpoint's folder.
        """
        # an epoch's last step is saved twice where the run was cut off before its evaluation
        name = f"step-{self.state.step:08d}-epoch-{self.state.epoch:04d}"
        folder = self.folder / name
        if folder in self._damaged or not _manifest_of(folder):
            shutil.rmtree(folder, ignore_errors=True)  # an interrupted save, or one passed over
            self._damaged.discard(folder)
            folder.mkdir(parents=True)
            self._tracked.write(str(folder / "variables"))
            (folder / "numbers.npz").write_bytes(_pack(self.state.numbers()))
            own = {"step": self.state.step, "epoch": self.state.epoch, "metrics": metrics}
            _seal(folder, {**architecture(self.state), **own})
        self._prune()
        return folder

    def restore(self) -> Saved | None:
        """Brings the state to the newest whole checkpoint.

        Returns:
            That checkpoint, or None where none was ever saved.

        Raises:
            BadInput: The checkpoint is another architecture's, or none of those there is whole.
        """
        found = sorted(self.folder.glob("step-*"), reverse=True)
        for folder in found:
            wrong = damage(folder)
            if wrong:
                log.warning("Passed over %s: %s.", folder, wrong)
                self._damaged.add(folder)
                continue
            saved = Saved(folder, _manifest_of(folder) or {})
            refuse_other_architecture(saved, architecture(self.state))
            self._tracked.read(str(folder / "variables")).assert_consumed()
            self.state.set_numbers(_unpack((folder / "numbers.npz").read_bytes()))
            return saved
        if any(_manifest_of(folder) is not None for folder in found):
            raise BadInput(
                f"--workdir={self.folder.parent}: none of its checkpoints is whole; mend them, or "
                "start anew with --overwrite or another --workdir."
            )
        return None

    def read(self, which: str) -> Saved:
        """Brings the state's variables to a checkpoint, to be used and not trained further.

        A state without optimizers leaves theirs unread. What the loop remembers is not touched.

        Args:
            which: As `--checkpoint` has it.

        Returns:
            The checkpoint that was taken.

        Raises:
            BadInput: There is no such checkpoint, or it is damaged or another architecture's.
        """
        found = self._choice(which)
        for saved in found:
            try:
                wrong = damage(saved.folder)
                if not wrong:
                    self._read(saved)
                    return saved
            except (FileNotFoundError, tf.errors.NotFoundError):
                wrong = "its run, which goes on, has just deleted it"
            log.warning("Passed over %s: %s.", saved.folder, wrong)
        raise BadInput(
            f"--checkpoint={which}: none of {', '.join(str(s.folder) for s in found)} is whole; "
            "take another."
        )

    def _read(self, saved: Saved) -> None:
        theirs = saved.manifest["variables"].items()
        wanted = {n: v for n, v in theirs if self.state.optimizers or n.startswith("model/")}
        wanted_alone = Saved(saved.folder, saved.manifest | {"variables": wanted})
        refuse_other_architecture(wanted_alone, architecture(self.state))
        status = self._tracked.read(str(saved.folder / "variables"))
        status.assert_existing_objects_matched().expect_partial()

    def is_best(self, saved: Saved) -> bool:
        """Whether it has the best metric of all that are there."""
        return saved.folder in [best.folder for best in self.best()[:1]]

    def _choice(self, which: str) -> list[Saved]:
        """Those that `--checkpoint` means, the first choice first; at least one."""
        newest, best = self.all()[::-1], self.best()
        if which in ("auto", "best", "latest"):
            found = {"auto": best or newest, "best": best, "latest": newest}[which]
            if not newest:
                raise BadInput(
                    f"--workdir={self.folder.parent} holds no checkpoint yet; train first."
                )
            if not found:
                raise BadInput(
                    f"--checkpoint=best: no checkpoint in {self.folder} has the metric "
                    f"{self.config.best_metric}; say --checkpoint=latest, or another --best_metric."
                )
            return found
        for folder in (self.folder / which, Path(which).expanduser()):
            if manifest := _manifest_of(folder):
                return [Saved(folder, manifest)]
        raise BadInput(
            f"--checkpoint={which} is neither a checkpoint's folder nor the name of one in "
            f"{self.folder}, which has {', '.join(s.folder.name for s in newest) or 'none'}."
        )

    def all(self) -> list[Saved]:
        """Those with a manifest that were not passed over, oldest first."""
        folders = sorted(set(self.folder.glob("step-*")) - self._damaged)
        return [Saved(f, m) for f in folders if (m := _manifest_of(f))]

    def best(self) -> list[Saved]:
        """Those with the best metric first."""
        metric, sign = self.config.best_metric, -1 if self.larger_is_better else 1
        rated = [s for s in self.all() if np.isfinite(s.manifest["metrics"].get(metric, np.nan))]
        return sorted(rated, key=lambda s: (sign * s.manifest["metrics"][metric], s.step))

    @property
    def larger_is_better(self) -> bool:
        """Whether the best metric is the largest."""
        if self.config.best_mode != "auto":
            return self.config.best_mode == "max"
        return larger_is_better(self.config.best_metric)

    def _prune(self) -> None:
        """Deletes interrupted saves, and all but the newest `keep_last` and best `keep_best`."""
        kept = {s.folder for s in self.all()[-self.config.keep_last :]}
        kept |= {s.folder for s in self.best()[: self.config.keep_best]}
        for saved in self.all():
            if saved.folder not in kept:
                # without its manifest it does not count, however far the deletion comes
                (saved.folder / "manifest.json").unlink()
        for folder in self.folder.glob("step-*"):
            if _manifest_of(folder) is None:
                shutil.rmtree(folder)


def architecture(state: TrainState) -> dict[str, Any]:
    """What two states must have in common for one to be restored into the other."""
    variables = {n: [list(v.shape), v.dtype.name] for n, v in state.variables().items()}
    layers = [[type(layer).__name__, layer.name] for layer in state.layers]
    return {"variables": variables, "layers": layers}


def refuse_other_architecture(saved: Saved, own: dict[str, Any]) -> None:
    """Raises `BadInput` that names what differs, if anything does."""
    theirs = saved.manifest["variables"]
    ours = own["variables"]
    differences = [f"{n} is only there" for n in sorted(theirs.keys() - ours.keys())]
    differences += [f"{n} is missing there" for n in sorted(ours.keys() - theirs.keys())]
    differences += [
        f"{n} is {tuple(theirs[n][0])} {theirs[n][1]} there, {tuple(ours[n][0])} {ours[n][1]} here"
        for n in ours
        if n in theirs and theirs[n] != ours[n]
    ]
    if not differences and saved.manifest["layers"] != own["layers"]:
        differences = ["its layers stand in another order"]
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise BadInput(
            f"--workdir={saved.folder.parents[1]} holds {saved.folder.name} of another model or "
            f"optimizer: {'; '.join(differences[:3])}{more}; use the flags it was made with "
            "(config.flags there), or another --workdir."
        )


def warm_start(state: TrainState, init_from: str) -> None:
    """Copies the model variables of another run that match by name and shape.

    Args:
        state: What to start.
        init_from: A checkpoint's folder, or a workdir, whose newest whole checkpoint is taken.

    Raises:
        BadInput: There is no whole checkpoint, or nothing in it matches.
    """
    given = Path(init_from).expanduser()
    candidates = [given, *sorted(given.glob("checkpoints/step-*"), reverse=True)]
    folder = next((f for f in candidates if f.is_dir() and damage(f) == ""), None)
    if folder is None:
        raise BadInput(f"--init_from={init_from} holds no whole checkpoint; give one's folder.")
    reader = tf.train.load_checkpoint(str(folder / "variables"))
    stored = reader.get_variable_to_shape_map()
    matched, left = 0, []
    for name, variable in state.variables().items():
        if not name.startswith("model/"):
            continue
        key = name.replace("/", ".S") + "/.ATTRIBUTES/VARIABLE_VALUE"
        if stored.get(key) == variable.shape.as_list():
            variable.assign(reader.get_tensor(key))
            matched += 1
        else:
            left.append(name)
    if not matched:
        raise BadInput(f"--init_from={init_from}: no variable matches by name and shape.")
    log.info("Started from %s: %d variables match%s.", folder, matched, _listed(left))


def _listed(left: list[str]) -> str:
    return f"; left as they were: {', '.join(left)}" if left else ", none is left"


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, or nothing."""
    manifest = _manifest_of(folder)
    if manifest is None:
        return "it has no manifest: its save was interrupted"
    if not manifest:
        return "its manifest cannot be read"
    for name, (size, digest) in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes where {size} were written"
        if _digest(path) != digest:
            return f"{name} has changed since it was written"
    return ""


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """Its manifest; None where there is none, {} where it cannot be read."""
    try:
        manifest = dict(json.loads((folder / "manifest.json").read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return {}
    return manifest if {"step", "metrics", "files", "variables", "layers"} <= set(manifest) else {}


def _seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Puts every file on the disk, then the manifest that makes them count."""
    files = sorted(f for f in folder.iterdir() if f.is_file())
    for path in files:
        _sync(path)
    manifest["files"] = {f.name: (f.stat().st_size, _digest(f)) for f in files}
    manifest["versions"] = {"tensorflow": tf.__version__, "keras": keras.__version__}
    unfinished = folder / "manifest.json.tmp"
    unfinished.write_text(json.dumps(manifest))
    _sync(unfinished)
    _sync(folder)
    unfinished.replace(folder / "manifest.json")
    _sync(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack(numbers: dict[str, Any]) -> bytes:
    """Nested dicts and lists of numbers, text and arrays as one `.npz`."""
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[f"array{len(arrays)}"] = value
            return {"array": f"array{len(arrays) - 1}"}
        if isinstance(value, dict):  # JSON's own would make text of each key
            return {"items": [[plain(k), plain(v)] for k, v in value.items()]}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return value.item() if isinstance(value, np.generic) else value

    text = np.frombuffer(json.dumps(plain(numbers)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, json=text, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> dict[str, Any]:
    """What `_pack` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def full(value: Any) -> Any:
        if isinstance(value, dict):
            return arrays[value["array"]] if "array" in value else dict(map(full, value["items"]))
        return [full(v) for v in value] if isinstance(value, list) else value

    return dict(full(json.loads(arrays["json"].tobytes().decode())))
