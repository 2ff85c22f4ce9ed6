"""Whole runs: from memory and from disk the same weights; damage on the way; the service."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.data.made import folder_of_images, write_image
from tests.support import environment, files_in, trainer_main
from trainer.errors import BAD_INPUT, OK


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    assert trainer_main("--mode=prepare", f"--data_dir={folder}").returncode == OK
    return folder


SMALL = ["--model=dense", "--width=8", "--shift=1", "--flip", "--global_batch_size=48"]


def weights(workdir: Path, *flags: str) -> str:
    done = trainer_main(*SMALL, f"--workdir={workdir}", "--num_logical_devices=2", *flags)
    assert done.returncode == OK, done.stderr
    found = re.search(r"sha256 (\w{64})", done.stdout)
    assert found
    return found[1]


def test_memory_and_disk_train_the_same_weights(tmp_path: Path, data_dir: Path) -> None:
    """Shuffled, augmented, on two replicas, with a last batch of 34, and stopped on the way."""
    split = [
        f"--data_dir={data_dir}",
        "--train_split=train[:90%]",
        "--validation_split=train[90%:]",
    ]
    memory = weights(tmp_path / "memory", *split, "--epochs=2")
    weights(tmp_path / "disk", *split, "--epochs=1", "--reader=disk")
    assert weights(tmp_path / "disk", *split, "--epochs=2", "--reader=disk") == memory


def test_damage_on_the_way_is_named(tmp_path: Path, data_dir: Path) -> None:
    """A bit that flipped: nobody can know before the record is read."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(data_dir / "digits" / "1.0.0"), str(folder)], check=True)
    shard = next(folder.glob("digits-train*"))
    data = bytearray(shard.read_bytes())
    data[len(data) - 50] ^= 1
    shard.write_bytes(data)
    done = trainer_main(
        *SMALL, f"--dataset={folder}", "--reader=disk", f"--workdir={tmp_path / 'run'}"
    )
    assert done.returncode == BAD_INPUT, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    assert f"record 897 of {shard} (row 897) cannot be used" in said


@pytest.mark.parametrize("case", ["unreadable", "empty class", "too few", "no service"])
def test_bad_input_writes_nothing(tmp_path: Path, case: str) -> None:
    root = folder_of_images(
        tmp_path / "f", {"train": {"a": 4, "b": 4}, "test": {"a": 1}}, (4, 4, 1)
    )
    flags, words = ["--global_batch_size=8"], [f"--dataset={root}"]
    if case == "unreadable":
        (root / "train" / "a" / "2.png").write_bytes(b"\x89PNG no more")
        words += ["a/2.png"]
    elif case == "empty class":
        (root / "train" / "c").mkdir()
        words += ["train/c holds no image"]
    elif case == "too few":
        flags = ["--global_batch_size=16"]
        words = ["--global_batch_size=16 is more than the 8 examples of --train_split=train"]
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        flags += [f"--tf_data_service=grpc://127.0.0.1:{port}"]
        words = [f"--tf_data_service=grpc://127.0.0.1:{port} does not answer"]
    before = files_in(tmp_path)
    began = time.monotonic()
    done = trainer_main(f"--dataset={root}", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == BAD_INPUT, done.stderr
    assert time.monotonic() - began < 60
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    for word in words:
        assert word in said
    assert files_in(tmp_path) == before


SERVICE = """
import time
from tensorflow.data.experimental import service
dispatcher = service.DispatchServer()
address = dispatcher.target.split("://")[1]
worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
print(dispatcher.target, flush=True)
time.sleep(300)
"""


@pytest.fixture
def service() -> Iterator[str]:
    """A real dispatcher and worker, in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("replicas", [2])
def test_batches_from_the_service(tmp_path: Path, service: str, replicas: int) -> None:
    """Classes that a network learns at once: black and white."""
    root = folder_of_images(tmp_path / "f", {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}})
    for split, number in (("train", 50), ("test", 7)):
        for name, level in (("a", 0), ("b", 255)):
            for i in range(number):
                pixels = np.full((6, 5, 3), level, np.uint8)
                write_image(root / split / name / f"{i}.png", pixels)
    done = trainer_main(
        f"--dataset={root}", "--model=dense", f"--tf_data_service={service}", "--epochs=8",
        "--global_batch_size=16", "--learning_rate=0.01", f"--num_logical_devices={replicas}",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == OK, done.stderr
    assert "Done: 56 steps" in done.stdout  # 7 a pass, the last of 4
    assert "val_accuracy 1.0000" in done.stdout
    assert f"Training batches come from {service}" in done.stderr
