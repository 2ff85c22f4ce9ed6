"""One process on two logical devices: trains two small runs, then uses them in every way."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import files_in
from tests.test_main import refuse_all

# Two steps an epoch, four an evaluation: the last with 2 of 10 examples.
RUN = {
    "task": "tests.made", "model": "convnet", "width": 2, "batch_norm": True, "dropout": 0.3,
    "l2": 0.01, "examples": 20, "global_batch_size": 10, "epochs": 3, "keep_last": 3,
    "ema_momentum": 0.8, "num_logical_devices": 2, "schedule": "cosine", "tensorboard": False,
    "progress": "none", "workdir": "run",
}  # fmt: skip
USED = ["--flagfile=run/config.flags"]
REFUSED = {
    "no run": [*USED, "--mode=evaluate", "--workdir=nothing"],
    "no such checkpoint": [*USED, "--mode=evaluate", "--checkpoint=step-1"],
    "no best": [*USED, "--mode=evaluate", "--checkpoint=best", "--best_metric=val_auc"],
    "damaged": [*USED, "--mode=evaluate", "--checkpoint=damaged/checkpoints/only"],
    "all damaged": [*USED, "--mode=evaluate", "--workdir=damaged"],
    "another model": [*USED, "--mode=evaluate", "--width=3"],
    "no averages": ["--flagfile=rows/config.flags", "--mode=evaluate", "--ema_momentum=0.5"],
    "no split": [*USED, "--mode=evaluate", "--validation_split=none"],
    "no input file": [*USED, "--mode=predict", "--input=images/*.gif"],
    "no image": [*USED, "--mode=predict", "--input=rows"],
    "wrong size": [*USED, "--mode=predict", "--input=large.png"],
    "no png": [*USED, "--mode=predict", "--input=broken.png"],
    "output there": [*USED, "--mode=predict", "--input=images", "--output=there.csv"],
    "bad row": ["--flagfile=rows/config.flags", "--mode=predict", "--input=bad.csv"],
    "export there": [*USED, "--mode=export"],
    "not an export": [*USED, "--mode=export", "--export_dir=images", "--overwrite"],
}


def used(folder: str) -> dict[str, Any]:
    """All of it, and what it told."""
    import trainer

    os.chdir(folder)
    run = trainer.configure(**RUN)
    result = trainer.train(run)
    rows = trainer.configure(
        task="tests.modes.table", workdir="rows", epochs=150, global_batch_size=10,
        learning_rate=0.05, checkpoint_every_epochs=150, eval_every_epochs=150,
        keep_best=0, tensorboard=False, progress="none", num_logical_devices=2,
    )  # fmt: skip
    trainer.train(rows)
    told: dict[str, Any] = {"folder": folder, "final": result.final}
    told |= _evaluated(trainer, run)
    told |= _predicted(trainer, run)
    told |= _exported(trainer, run)
    _spoil()
    told["passed over"] = dataclasses.asdict(trainer.evaluate(run.replace(workdir="mended")))
    told["refused"] = refuse_all(folder, REFUSED)
    return told


def _evaluated(trainer: Any, run: Any) -> dict[str, Any]:
    """Each checkpoint, while the lock is held as if training went on."""
    from trainer.workdir import opened

    kept = sorted(Path("run/checkpoints").iterdir())
    with opened(run):
        before = _contents("run")
        each = {
            name: dataclasses.asdict(trainer.evaluate(run.replace(checkpoint=name)))
            for name in ("auto", "best", "latest", *(path.name for path in kept))
        }
        command = refuse_all(".", {"evaluate": [*USED, "--mode=evaluate"]})["evaluate"]
        after = _contents("run")
    return {
        "evaluated": each,
        "manifests": {p.name: json.loads((p / "manifest.json").read_text()) for p in kept},
        "raw": trainer.evaluate(run.replace(ema_momentum=0.0)).metrics,
        "small batches": trainer.evaluate(run.replace(eval_batch_size=3)).metrics,
        "command": command,
        "changed": sorted(p for p in after if after[p] != before.get(p)),
    }


def _predicted(trainer: Any, run: Any) -> dict[str, Any]:
    """A folder of images, and a table."""
    import tensorflow as tf

    Path("images/more").mkdir(parents=True)
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (2, 4, 4, 1)).astype(np.uint8)
    Path("images/a.png").write_bytes(tf.io.encode_png(grey[0]).numpy())
    Path("images/more/b.PNG").write_bytes(tf.io.encode_png(np.repeat(grey[1], 3, -1)).numpy())
    Path("images/notes.txt").write_text("no image")
    Path("large.png").write_bytes(tf.io.encode_png(np.zeros((5, 4, 1), np.uint8)).numpy())
    Path("broken.png").write_bytes(Path("images/a.png").read_bytes()[:40])
    Path("good.csv").write_text("a,b\n0.25,0.5\n0.5,0.125\n0,0\n")
    Path("bad.csv").write_text("a,b\n0.25,0.5\n0.5,\n")
    Path("there.csv").write_text("precious")
    table = ["--flagfile=rows/config.flags", "--mode=predict", "--input=good.csv"]
    return {
        "images": grey,
        "predicted": trainer.predict(run.replace(input="images")),
        "tables": refuse_all(".", {
            "printed": table,
            "written": [*table, "--output=sums.csv", "--global_batch_size=2"],
        }),
    }  # fmt: skip


def _exported(trainer: Any, run: Any) -> dict[str, Any]:
    """Twice, and once with an export that reloads to something else."""
    from trainer.modes import export

    done = trainer.export(run)
    again = refuse_all(".", {"again": [*USED, "--mode=export", "--overwrite"]})["again"]
    honest = export._reloaded
    export._reloaded = lambda *given: {n: [a + 1e-3 for a in v] for n, v in honest(*given).items()}
    try:
        lied = refuse_all(".", {"lied": [*USED, "--mode=export", "--export_dir=lied"]})["lied"]
    finally:
        export._reloaded = honest
    return {
        "exported": dataclasses.asdict(done),
        "again": again,
        "lied": lied,
        "left": files_in(Path("run/export")),
        "around": sorted(p.name for p in [*Path().iterdir(), *Path("run").iterdir()]),
    }


def _spoil() -> None:
    """A run whose only checkpoint lost its end, and one that lost that of its best alone."""
    best = sorted(Path("run/checkpoints").iterdir())[0]
    shutil.copytree("run", "mended")
    shutil.copytree(best, "damaged/checkpoints/step-00000002-epoch-0001")
    shutil.copytree(best, "damaged/checkpoints/only")
    shutil.copy("run/run.json", "damaged/run.json")
    (lost,) = Path("mended/checkpoints", _best_of("mended")).glob("variables.data*")
    for path in [lost, *Path("damaged/checkpoints").glob("*/variables.data*")]:
        path.write_bytes(path.read_bytes()[:-10])


def _best_of(workdir: str) -> str:
    manifests = Path(workdir).glob("checkpoints/*/manifest.json")
    losses = {p.parent.name: json.loads(p.read_text())["metrics"]["val_loss"] for p in manifests}
    return min(losses, key=losses.__getitem__)


def _contents(folder: str) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
