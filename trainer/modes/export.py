"""`--mode=export`: a SavedModel and a `.keras` file, reloaded and compared before they count."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer import errors, runtime
from trainer.config import Config
from trainer.data.load import load_for_evaluation, num_examples
from trainer.data.plan import IndexPlan
from trainer.data.readers import open_reader, read_share
from trainer.modes import reloaded
from trainer.restored import Restored, restore
from trainer.workdir import write_json

RECORD = "export.json"
NUM_EXAMPLES = 64
# Of the largest output. TensorFlow may order sums otherwise for another batch size; a half float
# has 11 bits, a bfloat16 8.
TOLERANCE = {"float32": 1e-5, "mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported, and how it compares with the model that it was made from.

    Attributes:
        folder: Holds `model.keras`, `saved_model` and `export.json`.
        checkpoint: The folder that the weights are from.
        name: The same in words.
        step: Steps trained by then.
        averaged: Whether the weights are the moving average.
        precision: Of the forward pass.
        takes: Shape and dtype of each input.
        split: Where the examples are from that were compared.
        examples: How many were.
        saved_model_difference: The largest, relative to the largest output; `.keras` has none.
        tolerance: What was allowed.
        needs: Modules with layers of the model's own, which `.keras` does not load without.
    """

    folder: Path
    checkpoint: str
    name: str
    step: int
    averaged: bool
    precision: str
    takes: list[str]
    split: str
    examples: int
    saved_model_difference: float
    tolerance: float
    needs: list[str]


def run(config: Config) -> int:
    """Exports, and says what was compared."""
    done = export(config)
    needs = f"; needs {', '.join(done.needs)} imported" if done.needs else ""
    averages = ", averaged weights" if done.averaged else ""
    print(
        f"Exported checkpoint {done.name}{averages}; it takes {', '.join(done.takes)}.\n"
        f"Reloaded in a new process, on the CPU, on {done.examples} examples of {done.split}:\n"
        f"  {done.folder / 'model.keras'}  equal to the bit{needs}\n"
        f"  {done.folder / 'saved_model'}  within {done.saved_model_difference:.1e} of the largest "
        f"output ({done.tolerance:.0e} is allowed)",
        flush=True,
    )
    return errors.OK


def export(config: Config) -> Exported:
    """Writes both to `--export_dir`, under their name once they are whole and compared.

    It happens on the CPU, where both must run, so that a GPU may train meanwhile.

    Args:
        config: That of the run, as in its `config.flags`.

    Raises:
        BadInput: There is no such checkpoint, or something is in the way.
        RuntimeError: What was reloaded differs, or does not load; nothing is left of it.
    """
    target = _target(config)
    cpu = {"device": "cpu", "num_devices": 1, "num_logical_devices": 0, "all_reduce": "auto"}
    strategy = runtime.set_up(config.replace(**cpu))
    restored = restore(config, strategy)
    split, x = _examples(config, restored)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        made = Path(folder, "export")
        made.mkdir()
        difference, needs = _made(restored.model, made, x, config.step.precision)
        done = Exported(
            folder=target,
            checkpoint=str(restored.saved.folder),
            name=restored.name,
            step=restored.saved.step,
            averaged=bool(restored.state.optimizers),
            precision=config.step.precision,
            takes=[f"{t.dtype} {[None, *t.shape[1:]]}" for t in tf.nest.flatten(x)],
            split=split,
            examples=len(tf.nest.flatten(x)[0]),
            saved_model_difference=difference,
            tolerance=TOLERANCE[config.step.precision],
            needs=needs,
        )
        versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
        facts = dataclasses.asdict(done) | {"folder": str(target), "versions": versions}
        write_json(made / RECORD, facts)
        if target.exists():
            target.rename(Path(folder, "replaced"))  # goes with the temporary folder
        made.rename(target)
    return done


def _target(config: Config) -> Path:
    """Where to, if nothing but an older export that may be replaced is there."""
    given = config.trained.export_dir or str(Path(config.run.workdir) / "export")
    target = Path(given).expanduser()
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return target
    if not (target / RECORD).is_file():
        raise errors.BadInput(f"--export_dir={given} holds something else; name a new folder.")
    if not config.run.overwrite:
        raise errors.BadInput(
            f"--export_dir={given} holds an export; name a new folder, or replace it with "
            "--overwrite."
        )
    return target


def _examples(config: Config, restored: Restored) -> tuple[str, Any]:
    """The first examples of a split, as arrays that the model takes."""
    split = config.trained.eval_split or config.data.validation_split
    split = config.data.train_split if split == "none" else split
    data = load_for_evaluation(config.data, restored.source, split, restored.info)
    assert data.validation is not None
    examples = num_examples(data.validation)
    size = min(examples, NUM_EXAMPLES)
    plan = IndexPlan(num_examples=examples, global_batch_size=size, shuffle=False)
    reader = open_reader(data.validation, restored.source, False, budget_bytes=0)
    step, one = tf.constant(0, tf.int64), tf.constant(1, tf.int64)
    _, batch = read_share(reader, plan, step, one, step, 1)
    return split, tf.nest.map_structure(np.asarray, batch[0])


def _made(model: keras.Model, made: Path, x: Any, precision: str) -> tuple[float, list[str]]:
    """Writes both forms and holds them against the model; the difference, and what they need."""
    with tf.device("CPU"):
        forward = tf.function(lambda x: model(x, training=False), autograph=False)
        expected = [tf.cast(t, tf.float32).numpy() for t in tf.nest.flatten(forward(x))]
    model.save(made / "model.keras")
    model.export(str(made / "saved_model"), verbose=False)
    layers = [model, *model._flatten_layers()]
    modules = {type(layer).__module__ for layer in layers}
    needs = sorted(m for m in modules if m.partition(".")[0] != "keras")
    told = _reloaded(made, x, needs)
    if not all(map(np.array_equal, told["keras"], expected)):
        difference = _difference(told["keras"], expected)
        raise RuntimeError(f"model.keras predicts otherwise when reloaded, by {difference:.1e}.")
    served = _difference(told["saved_model"], expected)
    served_one = _difference(told["saved_model, one"], [array[:1] for array in expected])
    difference = float(np.max([served, served_one]))  # which, unlike max(), lets no NaN through
    if not difference <= TOLERANCE[precision]:
        raise RuntimeError(f"saved_model predicts otherwise when reloaded, by {difference:.1e}.")
    return difference, needs


def _reloaded(made: Path, x: Any, needs: list[str]) -> dict[str, list[np.ndarray]]:
    """What both exports make of the examples, in a fresh process without GPUs."""
    examples, answers = made.with_name("examples"), made.with_name("answers")
    examples.write_bytes(pickle.dumps(x))
    settings = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    asked = subprocess.run(
        [sys.executable, "-P", reloaded.__file__, str(made), str(examples), str(answers), *needs],
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if asked.returncode:
        raise RuntimeError(f"The export does not load in a new process:\n{asked.stderr}")
    answered: dict[str, list[np.ndarray]] = pickle.loads(answers.read_bytes())
    return answered


def _difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The largest, relative to the largest output; NaN where something is not finite."""
    largest = [np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(one, other, strict=True)]
    return float(np.max(largest))
