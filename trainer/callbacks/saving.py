"""Checkpoints at epochs' ends and between, and the way out on a signal."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import keras

from trainer import config
from trainer.callbacks.averages import EvaluateAverages
from trainer.callbacks.memory import recall, remind
from trainer.checkpoint import Checkpoints
from trainer.errors import Preempted
from trainer.state import TrainState

log = logging.getLogger("trainer")


class Saving(keras.callbacks.Callback):
    """Keeps the state, the other callbacks' memory with it. Stands last among the callbacks.

    On SIGTERM or SIGINT the call on the device is finished, the state saved, and `Preempted`
    raised. Under `fit`, which resumes at an epoch's start only, the last epoch's checkpoint stands.

    Args:
        checkpoints: Where to.
        state: What.
        callbacks: Whose memory is kept.
        settings: How often.
        steps_per_epoch: To tell an epoch's last batch from the others.
        mid_epoch: Whether the loop can resume within an epoch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        state: TrainState,
        callbacks: Sequence[keras.callbacks.Callback],
        settings: config.Checkpoint,
        steps_per_epoch: int,
        mid_epoch: bool,
    ) -> None:
        super().__init__()
        self.checkpoints, self.state, self.callbacks = checkpoints, state, callbacks
        self.settings, self.steps_per_epoch = settings, steps_per_epoch
        self.mid_epoch = mid_epoch
        self.saved_step = state.step
        self.signal = 0
        self._before: dict[int, Any] = {}
        self._rates: list[tuple[keras.optimizers.Optimizer, float]] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Gives the callbacks their memory back."""
        remind(self.callbacks, self.state.callbacks)
        if self.state.step > self.state.epoch * self.steps_per_epoch:
            self._rates = [
                (optimizer, float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
                for optimizer in self.state.optimizers.values()
                if isinstance(optimizer._learning_rate, keras.Variable)
            ]

    def listen(self) -> None:
        """From here on SIGTERM and SIGINT are heard, and heeded after the next call."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._heard)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Puts the learning rate back where a run goes on within an epoch.

        That epoch began once before: a callback that set the rate then has now set it again.
        """
        for optimizer, rate in self._rates:
            optimizer.learning_rate = rate
        self._rates = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Saves within an epoch where that is due, and leaves after a signal."""
        due = self.settings.checkpoint_every_steps
        at_end = (batch + 1) % self.steps_per_epoch == 0
        if self.mid_epoch and due and not at_end and self.state.step - self.saved_step >= due:
            self._save({})
        if self.signal:
            self._leave()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Leaves after a signal; the next start does the evaluation again."""
        if self.signal:
            self._leave()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves with the epoch's metrics."""
        self.state.epoch = epoch + 1
        self.state.stopped = bool(self.model.stop_training)
        self.state.shortened = self.state.step < self.state.epoch * self.steps_per_epoch
        self.state.epoch_totals = None
        last = self.state.stopped or self.state.epoch == self.params["epochs"]
        if last or self.state.epoch % self.settings.checkpoint_every_epochs == 0:
            self._save(dict(logs or {}))
        if self.signal and not last:
            self._leave(dict(logs or {}))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Hands the signals back."""
        self.release()

    def release(self) -> None:
        """Puts back the handlers that stood before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _heard(self, number: int, _: Any) -> None:
        """A handler must not do more: it runs between any two lines of Python."""
        if self.signal:  # asked a second time: end at once; what is saved is whole
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number

    def _save(self, metrics: dict[str, float]) -> None:
        self.state.callbacks = recall(self.callbacks)
        self.checkpoints.save(metrics)
        self.saved_step = self.state.step

    def _leave(self, metrics: dict[str, float] | None = None) -> None:
        began = time.perf_counter()
        for callback in self.callbacks:
            if isinstance(callback, EvaluateAverages):
                callback.put_back()
        if self.mid_epoch:
            self._save(metrics or {})
        name = signal.Signals(self.signal).name
        seconds = time.perf_counter() - began
        saved = f"saved at step {self.saved_step} in {seconds:.2f} s"
        if not self.mid_epoch:
            saved = f"--loop=fit keeps whole epochs, {self.state.epoch} so far"
        raise Preempted(f"{name}: {saved}; the same command goes on from there.")
