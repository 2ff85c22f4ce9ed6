"""How many examples a second the input makes, reader by reader.

    python -m benchmarks.input [--seconds=5] [--json=FILE]

Images of MNIST's shape from memory and from TFRecords, and JPEGs from TFRecords and from a folder,
made up here. Beside the JPEGs stands what `tf.io.decode_jpeg` alone does on the same cores, with
the bytes in memory. Each case runs in a fresh process, which also says how much memory it took.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 128
IMAGES, JPEGS, SIDE = 60_000, 4_000, 256
CASES = (
    "memory", "memory shuffled and augmented", "records", "records with JPEGs",
    "folder of JPEGs", "decode_jpeg alone",
)  # fmt: skip


def made(folder: Path) -> None:
    """Writes the two datasets: noise as MNIST, and smooth pictures as JPEG, which compress."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    random = np.random.default_rng(0)
    small = random.integers(0, 256, (IMAGES, 28, 28, 1), np.uint8)
    coarse = random.uniform(0, 255, (256, 12, 12, 3))
    smooth = tf.image.resize(coarse, (SIDE, SIDE)).numpy()
    noisy = np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
    encoded = [tf.io.encode_jpeg(image).numpy() for image in noisy]
    jpeg = tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg")
    _write(folder / "small", tfds.features.Image(shape=(28, 28, 1)), lambda i: small[i], IMAGES)
    path = folder / "one.jpg"

    def from_file(i: int) -> str:
        path.write_bytes(encoded[i % 256])
        return str(path)

    _write(folder / "jpegs", jpeg, from_file, JPEGS)
    for i in range(JPEGS):
        target = folder / "folder" / "train" / f"class{i % 10}" / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded[i % 256])


def _write(folder: Path, image: Any, make: Callable[[int], Any], number: int) -> None:
    import tensorflow_datasets as tfds

    features = {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}

    with tfds.core.registered.skip_registration():

        class Made(tfds.core.GeneratorBasedBuilder):
            """Made up."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> Any:
                both = tfds.features.FeaturesDict(features)
                return tfds.core.DatasetInfo(builder=self, features=both, disable_shuffling=True)

            def _split_generators(self, dl_manager: Any) -> Any:
                return {"train": self._generate_examples()}

            def _generate_examples(self) -> Iterator[tuple[int, Any]]:
                for i in range(number):
                    yield i, {"image": make(i), "label": i % 10}

    tfds.disable_progress_bar()
    Made(data_dir=folder).download_and_prepare()


def measure(case: str, folder: Path, seconds: float) -> dict[str, float]:
    """Examples a second of one case, and the most memory that it needed beyond TensorFlow's own."""
    import tensorflow as tf

    from trainer.data.pipeline import PARALLEL_CALLS

    start = _peak_bytes()
    if case == "decode_jpeg alone":
        images = tf.constant([p.read_bytes() for p in sorted(folder.glob("folder/*/class0/*.jpg"))])
        count = len(images)
        dataset = tf.data.Dataset.counter().map(
            lambda i: tf.io.decode_jpeg(images[i % count], channels=3),
            num_parallel_calls=PARALLEL_CALLS,
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        iterator, size = iter(dataset.prefetch(BATCH).with_options(options)), 1
    else:
        iterator, size = iter(_input(case, folder)), BATCH
    for _ in range(1 + BATCH // size):
        next(iterator)
    examples, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        element = next(iterator)
        examples += size * (len(element[0]) if size > 1 else 1)
    speed = examples / (time.perf_counter() - began)
    return {"examples_per_second": speed, "mib": (_peak_bytes() - start) / 2**20}


def _input(case: str, folder: Path) -> Any:
    """What a loop on one replica iterates over."""
    import tensorflow as tf

    from trainer.config import Data
    from trainer.data.load import load, num_examples
    from trainer.data.pipeline import distribute
    from trainer.data.plan import IndexPlan, Schedule
    from trainer.data.readers import DiskReader, MemoryReader
    from trainer.data.stored import Stored
    from trainer.tasks import image_classification

    where = {"records with JPEGs": "jpegs/made/1.0.0", "folder of JPEGs": "folder"}
    dataset = str(folder / where.get(case, "small/made/1.0.0"))
    augmented = case == "memory shuffled and augmented"
    options = image_classification.Options(dataset=dataset, flip=augmented, shift=2 * augmented)
    source = image_classification.Task(options).source()
    if "JPEG" in case:  # as decode_jpeg gives them: no arithmetic beside it
        source = dataclasses.replace(source, batch=lambda f: (f["image"], f["label"]))
    reader = "memory" if case.startswith("memory") else "disk"
    config = Data(reader=reader, validation_split="none")
    split = load(config, source, "input").train
    chosen = (
        DiskReader(split, source, True)
        if isinstance(split, Stored)
        else MemoryReader(split, source, True, 2**32)
    )
    plan = IndexPlan(num_examples=num_examples(split), global_batch_size=BATCH)
    schedule = Schedule(steps_per_epoch=plan.steps_per_pass, steps_per_loop=100, train_steps=0)
    return distribute(tf.distribute.get_strategy(), chosen, plan, schedule, first_step=0)


def _peak_bytes() -> int:
    """Of this process alone: `getrusage` begins with its parent's peak."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


def main() -> None:
    """Makes the data, runs all cases and prints the table last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case is timed")
    parser.add_argument("--json", type=Path, help="a file for machines")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)  # a child: case and folder
    arguments = parser.parse_args()
    logging.getLogger("trainer").setLevel(logging.WARNING)
    if arguments.case:
        case, folder = arguments.case
        print(json.dumps(measure(case, Path(folder), arguments.seconds)), flush=True)
        os._exit(0)  # TensorFlow's destructors can take seconds
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder))
        results = {case: _child(case, folder, arguments.seconds) for case in CASES}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


def _child(case: str, folder: str, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.input", f"--seconds={seconds}", "--case", case, folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(results: dict[str, dict[str, float]]) -> str:
    """The figures for people."""
    alone = results["decode_jpeg alone"]["examples_per_second"]
    lines = ["| input | examples/s | of decode_jpeg alone | MiB |", "|---|---|---|---|"]
    for case, result in results.items():
        speed = result["examples_per_second"]
        share = f"{speed / alone:.0%}" if "JPEG" in case else ""
        lines.append(f"| {case} | {speed:,.0f} | {share} | {result['mib']:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
