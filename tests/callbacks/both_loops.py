"""Runs callbacks in both loops, in one process on logical devices, and tells what they did."""

from __future__ import annotations

import contextlib
import csv
import http.server
import io
import json
import signal
import threading
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trainer
from trainer import environment
from trainer.errors import Preempted

environment.settle()

import h5py  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # noqa: E402

from tests import made as task  # noqa: E402

LOOPS = ("tape", "fit")
HOOKS = [
    f"on_{what}_{when}"
    for what in ("train", "epoch", "train_batch", "test", "test_batch")
    for when in ("begin", "end")
]
COMMON = {
    "task": "tests.made",
    "global_batch_size": 8,  # 6 steps an epoch, 4 an evaluation
    "steps_per_loop": 2,  # which divides both, so that fit's executions end where the tape's calls
    "epochs": 3,
    "learning_rate": 0.05,
    "dropout": 0.3,
    "progress": "none",
    "tensorboard": False,
}


class Recording(keras.callbacks.Callback):
    """Every hook called, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[int], dict[str, float] | None]] = []
        for hook in HOOKS:
            setattr(self, hook, self._recorder(hook))

    def _recorder(self, hook: str) -> Callable[..., None]:
        def record(*arguments: Any, logs: dict[str, float] | None = None) -> None:
            numbers = [a for a in arguments if isinstance(a, int)]
            logs = next((a for a in arguments if isinstance(a, dict)), logs)
            self.calls.append((hook, numbers, None if logs is None else dict(logs)))

        return record


class Diary(keras.callbacks.Callback):
    """A user's own: counts batches, and keeps each epoch's loss from one start to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.losses = 0, {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.batches += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.losses[f"epoch {epoch}"] = np.float32(logs["loss"])

    def get_state(self) -> dict[str, Any]:
        return {"batches": self.batches, "losses": self.losses}

    def set_state(self, state: dict[str, Any]) -> None:
        self.batches, self.losses = state["batches"], state["losses"]


class Interrupt(keras.callbacks.Callback):
    """A SIGTERM in this very process, once, at a hook after so many updates."""

    def __init__(self, hook: str, after: int) -> None:
        super().__init__()
        self.after, self.sent = after, False
        setattr(self, hook, self._send)

    def _send(self, *_: Any, **__: Any) -> None:
        if not self.sent and self.model.optimizer.iterations >= self.after:
            self.sent = True
            signal.raise_signal(signal.SIGTERM)


class Halfway(keras.callbacks.Callback):
    """Ends the training after the second call of the second epoch."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.model.optimizer.iterations >= 10:
            self.model.stop_training = True


class Receiver(http.server.HTTPServer):
    """A local server that keeps what is posted to it."""

    def __init__(self) -> None:
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def run(replicas: int, folder: str, names: list[str], full: bool) -> dict[str, Any]:
    """What each of the scenarios below told, or the traceback it ended in.

    Args:
        replicas: Logical devices.
        folder: Where to.
        names: Which scenarios.
        full: Also the runs that say little more, for the slow tests.
    """
    told: dict[str, Any] = {}
    for name in names:
        own = Path(folder) / name
        try:
            told[name] = globals()[name](replicas, own, full)
        except Exception:
            told[name] = traceback.format_exc()
    return told


def observers(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """All callbacks that only look, and one that sets the rate; two starts of the same run."""
    told = {}
    for loop in LOOPS:
        out, receiver = folder / loop, Receiver()
        out.mkdir(parents=True)
        starts = []
        for epochs in (2, 3):
            callbacks = [
                recording := Recording(),
                keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5**epoch),
                keras.callbacks.CSVLogger(out / "log.csv", append=True),
                keras.callbacks.TensorBoard(out / "tb", histogram_freq=1, update_freq=1),
                keras.callbacks.ModelCheckpoint(out / "model-{epoch}-{val_loss:.3f}.keras"),
                keras.callbacks.ModelCheckpoint(out / "{epoch}.weights.h5", save_weights_only=True),
                keras.callbacks.ModelCheckpoint(
                    out / "best-{epoch}.weights.h5",
                    monitor="val_accuracy",
                    save_best_only=True,
                    save_weights_only=True,
                ),
                keras.callbacks.ModelCheckpoint(out / "{epoch}-{batch}.keras", save_freq=4),
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda epoch, logs, out=out: (
                        (out / "lambda").open("a").write(f"{epoch} {sorted(logs)}\n")
                    )
                ),
                keras.callbacks.BackupAndRestore(out / "backup", delete_checkpoint=False),
                keras.callbacks.RemoteMonitor(receiver.root, send_as_json=True),
                keras.callbacks.ProgbarLogger(),
                history := keras.callbacks.History(),
                diary := Diary(),
            ]
            run = _train(replicas, loop, folder, callbacks, epochs=epochs)
            own = {"history": history.history, "epochs": history.epoch, "diary": diary.get_state()}
            starts.append({**run, "calls": recording.calls, "params": recording.params, **own})
        told[loop] = {
            "starts": starts,
            "posted": receiver.received,
            "csv": list(csv.DictReader((out / "log.csv").open())),
            "lambda": (out / "lambda").read_text(),
            "backup": json.loads((out / "backup" / "training_metadata.json").read_text()),
            "models": {p.name: _model(p) for p in sorted(out.glob("*.keras"))},
            "weights": {p.name: _h5(p) for p in sorted(out.rglob("*.weights.h5"))},
            "tensorboard": {d: events(out / "tb" / d) for d in ("train", "validation")},
        }
        receiver.shutdown()
    return told


def plateau(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """A rate that falls on a plateau, until early stopping goes back to the best weights."""

    def callbacks() -> list[keras.callbacks.Callback]:
        return [
            keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0.02),
        ]

    flags = {"epochs": 30, "noise": 0.6, "learning_rate": 0.2}
    told = {}
    for loop in LOOPS:
        first, again = callbacks(), callbacks()
        told[loop] = {
            "first": _train(replicas, loop, folder, first, **flags) | _memory(first),
            "again": _train(replicas, loop, folder, again, **flags) | _memory(again),
        }
    return told


def by_accuracy(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """Early stopping on a metric whose direction Keras asks the model for."""
    told = {}
    for loop in LOOPS:
        stopping = keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=1)
        run = _train(replicas, loop, folder, [stopping], epochs=30, noise=0.5)
        told[loop] = run | _memory([stopping])
    return told


def averaged(
    replicas: int, folder: Path, full: bool, swap_on_epoch: bool = False
) -> dict[str, Any]:
    """Evaluation on the moving average: Keras's own way, and without a callback the project's."""
    told: dict[str, Any] = {}
    flags = {"ema_momentum": 0.9, "dropout": 0.0}
    for loop in LOOPS:
        out = folder / f"{loop}-kept"
        out.mkdir(parents=True)
        callbacks = [
            keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch),
            keras.callbacks.ModelCheckpoint(out / "{epoch}.weights.h5", save_weights_only=True),
        ]
        told[loop] = _train(replicas, loop, folder, callbacks, **flags)
        told[loop]["kept"] = {path.name: _h5(path) for path in sorted(out.glob("*"))}
    for loop in LOOPS if full else ["tape"]:
        told[f"{loop}, by flag"] = _train(replicas, loop, folder / "flag", [], **flags)
        told[f"{loop}, again"] = _train(replicas, loop, folder / "flag", [], **flags)
    return told


def averaged_on_epochs(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """As `averaged`, with the average in the model from an epoch's end to the next one's start."""
    return averaged(replicas, folder, full, swap_on_epoch=True)


def interrupted(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """Callbacks that act on weights and rate, through a run that is cut off several times."""

    def callbacks(out: Path) -> list[keras.callbacks.Callback]:
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8),
            keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
            keras.callbacks.BackupAndRestore(out / "backup"),
            keras.callbacks.ModelCheckpoint(out / "{epoch}-{batch}.keras", save_freq=8),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            Diary(),
        ]

    told: dict[str, Any] = {}
    flags = {"epochs": 4, "ema_momentum": 0.9, "noise": 0.3}
    for name, cuts in (
        ("whole", []),
        ("cut", [("on_train_batch_end", 8), ("on_test_batch_begin", 12), ("on_epoch_end", 18)]),
    ):
        out = folder / f"{name}-kept"
        out.mkdir(parents=True)
        steps = []
        for hook, after in cuts:
            try:
                _train(
                    replicas,
                    "tape",
                    folder / name,
                    [*callbacks(out), Interrupt(hook, after)],
                    **flags,
                )
            except Preempted:
                steps.append(_last_step(folder / name / "tape-run"))
        own = callbacks(out)
        told[name] = _train(replicas, "tape", folder / name, own, **flags) | _memory(own)
        told[name] |= {"cut_at": steps, "diary": own[-1].get_state()}
        told[name]["models"] = {p.name: _model(p) for p in sorted(out.glob("*.keras"))}
    return told


def _last_step(workdir: Path) -> int:
    newest = sorted(workdir.glob("checkpoints/step-*/manifest.json"))[-1]
    return int(json.loads(newest.read_text())["step"])


def averaged_best(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """Early stopping by the averaged weights' loss; what those it goes back to really give."""
    told: dict[str, Any] = {}
    for loop in LOOPS if full else ["tape"]:
        own = {"loop": loop, "num_logical_devices": replicas, "ema_momentum": 0.8}
        flags = {"noise": 0.6, "epochs": 20, "learning_rate": 0.2, "early_stopping_patience": 2}
        workdir = str(folder / loop)
        result = trainer.train(trainer.configure(**{**COMMON, **own, **flags}, workdir=workdir))
        made = task.Task(task.Options()).source().make("test")
        logits = result.model(made["image"])
        losses = keras.losses.sparse_categorical_crossentropy(made["label"], logits, True)
        measured = float(tf.reduce_mean(losses))
        told[loop] = {"history": result.history, "measured": measured}
    return told


def recorded(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """What the project's own callbacks leave in the workdir; in the tape loop over two starts."""
    told: dict[str, Any] = {}
    for loop in LOOPS:
        workdir = folder / f"{loop}-run"
        flags = {"tensorboard": True, "log_every_steps": 2, "progress": "lines", "seed": 7}
        lines = io.StringIO()
        with contextlib.redirect_stderr(lines):
            for epochs in (2, 3) if loop == "tape" or full else (3,):
                run = _train(replicas, loop, folder, [], epochs=epochs, **flags)
        told[loop] = {
            "run": run,
            "record": json.loads((workdir / "run.json").read_text()),
            "events": {d: events(workdir / "tensorboard" / d) for d in ("train", "validation")},
            "lines": lines.getvalue().splitlines(),
            "manifests": [
                json.loads(path.read_text())
                for path in sorted(workdir.glob("checkpoints/*/manifest.json"))
            ],
            "flags": (workdir / "config.flags").read_text(),
        }
    return told


def shown(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """What a task shows, in both loops; in the tape loop also cut off within an epoch, and again.

    Under `averaged` the task is shown averaged weights, without an evaluation too.
    """
    told: dict[str, Any] = {}
    own = {"task": "tests.made_gan", "tensorboard": True, "log_every_steps": 2}
    own |= {"best_metric": "modes_covered", "learning_rate": 0.01}
    averaged = {"ema_momentum": 0.9, "validation_split": "none"}
    stopped = {"early_stopping_patience": 1, "early_stopping_metric": "modes_covered"}
    stopped |= {"learning_rate": 0.0}
    for name, loop, cut, flags in (
        ("tape", "tape", 0, {}),
        ("fit", "fit", 0, {}),
        ("cut", "tape", 8, {}),
        ("again", "tape", 0, {}),
        ("other rate", "tape", 0, {"discriminator_learning_rate": 0.02, "epochs": 4}),
        ("averaged", "tape", 0, averaged),
        ("stopped", "tape", 0, stopped),
    ):
        place = folder / ("cut" if name in ("again", "other rate") else name)
        if cut:
            callbacks = [Interrupt("on_train_batch_end", cut)]
            with contextlib.suppress(Preempted):
                _train(replicas, loop, place, callbacks, **own | flags)
        run = _train(replicas, loop, place, [], **own | flags)
        workdir = place / f"{loop}-run"
        told[name] = {
            "run": run,
            "record": json.loads((workdir / "run.json").read_text()),
            "pictures": {p.name: p.read_bytes() for p in sorted(workdir.glob("samples/*"))},
            "events": {d: events(workdir / "tensorboard" / d) for d in ("train", "samples")},
        }
    return told


def stopped_within_an_epoch(replicas: int, folder: Path, full: bool) -> dict[str, Any]:
    """A loss that is infinite from one row on, or a user's callback, ends the training."""
    told: dict[str, Any] = {}
    for name, callback, flags in (
        ("nan", keras.callbacks.TerminateOnNaN, {"task": "tests.callbacks.infinite"}),
        ("own", Halfway, {}),
    )[: 2 if full else 1]:
        told[name] = {}
        for loop in LOOPS:
            starts = []
            for _ in range(2):
                recording = Recording()
                place = folder / name
                run = _train(replicas, loop, place, [recording, callback()], **flags)
                starts.append({**run, "calls": recording.calls})
            told[name][loop] = starts
    return told


def _train(
    replicas: int,
    loop: str,
    folder: Path,
    callbacks: list[keras.callbacks.Callback],
    **flags: Any,
) -> dict[str, Any]:
    workdir = str(folder / f"{loop}-run")
    own = {"loop": loop, "workdir": workdir, "num_logical_devices": replicas}
    result = trainer.train(trainer.configure(**{**COMMON, **own, **flags}), callbacks)
    return {
        "final": result.final,
        "best": result.best,
        "text": result.text,
        "history": result.history,
        "step": result.step,
        "weights": [np.array(w) for w in result.model.get_weights()],
        "stop_training": result.model.stop_training,
        "learning_rate": float(result.model.optimizer.learning_rate.numpy()),
        "learning_rates": [
            float(optimizer.learning_rate.numpy())
            for optimizer in getattr(result.model, "optimizers", {}).values()
        ],
    }


def _memory(callbacks: list[keras.callbacks.Callback]) -> dict[str, Any]:
    names = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter", "best_weights")
    return {
        "memory": [{n: getattr(c, n) for n in names if hasattr(c, n)} for c in callbacks],
    }


def _model(path: Path) -> dict[str, Any]:
    """What a `.keras` file holds: the layers, how it is compiled, and every array."""
    with zipfile.ZipFile(path) as file:
        arrays = _h5(io.BytesIO(file.read("model.weights.h5")))
        config = json.loads(file.read("config.json"))
    layers = [(layer["class_name"], layer["name"]) for layer in config["config"]["layers"]]
    compiled = config["compile_config"]
    settings = {key: compiled[key]["config"] for key in ("optimizer", "loss")}
    return {"layers": layers, "compiled": settings, **arrays}


def _h5(path: Path | io.BytesIO) -> dict[str, np.ndarray]:
    """Every array of an HDF5 file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def events(folder: Path) -> dict[str, list[tuple[int, float | str | None]]]:
    """Tag to its steps with the value of a scalar or the text of a text."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                told = None
                if value.metadata.plugin_data.plugin_name == "scalars":
                    told = float(tf.make_ndarray(value.tensor))
                elif value.metadata.plugin_data.plugin_name == "text":
                    told = tf.make_ndarray(value.tensor).reshape(-1)[0].decode()
                found.setdefault(value.tag, []).append((event.step, told))
    return found
