"""Loads an export as its users will: in a process of its own, on the CPU, without this project.

Run by `export.py`, as a script:

    python reloaded.py EXPORT EXAMPLES ANSWERS [MODULE ...]

EXAMPLES is a pickle of what the model takes, ANSWERS becomes one of what the two exports make of
it. The modules, if any, define layers of the model's own, and are imported first.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def main(arguments: Sequence[str]) -> None:
    """Answers for all examples at once, and for the first alone from the SavedModel."""
    folder, examples, answers, *modules = arguments
    if not modules:
        sys.modules["trainer"] = None  # type: ignore[assignment]  # its import is an error now
    for module in modules:
        importlib.import_module(module)
    x = pickle.loads(Path(examples).read_bytes())
    first = tf.nest.map_structure(lambda array: array[:1], x)
    model = keras.saving.load_model(Path(folder, "model.keras"))
    served = tf.saved_model.load(str(Path(folder, "saved_model")))
    forward = tf.function(lambda x: model(x, training=False), autograph=False)
    told = {"keras": forward(x), "saved_model": served.serve(x)}
    told["saved_model, one"] = served.serve(first)
    Path(answers).write_bytes(pickle.dumps({name: _arrays(t) for name, t in told.items()}))


def _arrays(tensors: Any) -> Any:
    """float32, one after the other."""
    return [tf.cast(t, tf.float32).numpy() for t in tf.nest.flatten(tensors)]


if __name__ == "__main__":
    main(sys.argv[1:])
