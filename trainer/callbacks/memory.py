"""What callbacks remember from one start to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras

# Keras resets these on every start. The attributes are all that it looks back on.
REMEMBERED: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: (
        "wait", "best", "best_epoch", "stopped_epoch", "best_weights",
    ),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best", "_batches_seen_since_last_saving", "_last_batch_seen",
    ),
    keras.callbacks.BackupAndRestore: (
        "_batches_seen_since_last_saving", "_last_batch_seen", "_current_epoch",
    ),
    keras.callbacks.TensorBoard: ("_global_train_batch", "_global_test_batch"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
    keras.callbacks.History: ("epoch", "history"),
}  # fmt: skip


def recall(callbacks: Iterable[keras.callbacks.Callback]) -> dict[str, Any]:
    """The memory of each callback that has one: its `get_state()`, or Keras's attributes.

    Returns:
        Callback name to numbers, text, lists, dicts and arrays.
    """
    found = {}
    for name, callback in _named(callbacks):
        if hasattr(callback, "get_state"):
            found[name] = callback.get_state()
        elif attributes := _attributes(callback):
            found[name] = {a: _plain(getattr(callback, a)) for a in attributes}
    return found


def remind(callbacks: Iterable[keras.callbacks.Callback], memory: dict[str, Any]) -> None:
    """Gives back what `recall` returned, to the callbacks of the same names."""
    for name, callback in _named(callbacks):
        if name not in memory:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(memory[name])
        else:
            for attribute in _attributes(callback):
                setattr(callback, attribute, memory[name][attribute])


def _attributes(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    for kind, attributes in REMEMBERED.items():
        if isinstance(callback, kind):
            return attributes
    return ()


def _named(
    callbacks: Iterable[keras.callbacks.Callback],
) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Class names, numbered where several are alike."""
    seen: dict[str, int] = {}
    for callback in callbacks:
        name = type(callback).__name__
        seen[name] = seen.get(name, 0) + 1
        yield (f"{name}#{seen[name]}" if seen[name] > 1 else name), callback


def _plain(value: Any) -> Any:
    """Scalars that Keras keeps as tensors, as numbers."""
    return float(value) if keras.ops.is_tensor(value) else value
