"""`--mode=predict`: what a checkpoint says of examples that people bring, as CSV."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import errors, runtime
from trainer.config import Config
from trainer.restored import Restored, restore


def run(config: Config) -> int:
    """Predicts, and writes CSV to `--output`, or to standard output where that is empty.

    Raises:
        BadInput: See `predict`; or `--output` cannot be written, or is there already.
    """
    target = Path(config.trained.output).expanduser() if config.trained.output else None
    if target and target.exists() and not config.run.overwrite:
        raise errors.BadInput(
            f"--output={config.trained.output} is there already; name another file, or replace it "
            "with --overwrite."
        )
    columns = predict(config)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    if target is None:
        with contextlib.suppress(BrokenPipeError):  # | head
            print(text.getvalue(), end="", flush=True)
        return errors.OK
    unfinished = target.with_name(target.name + ".tmp")
    try:
        unfinished.write_text(text.getvalue(), encoding="utf-8")
        unfinished.replace(target)
    except OSError as error:
        raise errors.BadInput(
            f"--output={config.trained.output} cannot be written ({error.strerror}); name a file "
            "that can be."
        ) from None
    print(f"{len(next(iter(columns.values()))):,} predictions in {target}.", flush=True)
    return errors.OK


def predict(config: Config) -> dict[str, Any]:
    """Predicts what `--input` names, on one device, in the run's precision.

    Args:
        config: That of the run, with `input`.

    Returns:
        Column name to a value an example: what names the example, then what the task says.

    Raises:
        BadInput: There is no such checkpoint, or the input cannot be read.
    """
    strategy = runtime.set_up(config.replace(num_devices=1, num_logical_devices=0))
    restored = restore(config, strategy)
    names, features = restored.task.read_input(config.trained.input, restored.info)
    prediction = _predictions(restored, features, config.loop.global_batch_size)
    return {**names, **restored.task.describe(prediction, restored.info)}


def _predictions(restored: Restored, features: dict[str, Any], batch_size: int) -> Any:
    """The model's output on all examples, float32."""
    model = restored.model

    @tf.function(reduce_retracing=True, autograph=False)
    def forward(x: Any) -> Any:
        return tf.nest.map_structure(lambda t: tf.cast(t, tf.float32), model(x, training=False))

    arrays = {name: np.asarray(values) for name, values in features.items()}
    batches = []
    for start in range(0, len(next(iter(arrays.values()))), batch_size):
        chunk = {name: tf.constant(a[start : start + batch_size]) for name, a in arrays.items()}
        x = restored.source.batch(chunk)[0]
        batches.append(tf.nest.map_structure(np.asarray, forward(x)))
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)
