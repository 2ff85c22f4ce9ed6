"""Datasets are prepared once, offline where their archives are here, or refused at once."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data import offline
from trainer.data.arrays import load_split
from trainer.data.prepare import is_prepared, open_builder, prepare
from trainer.errors import BadInput

TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def mnist_files(tmp_path: Path) -> Path:
    """A copy of MNIST's four archives, to be damaged at will."""
    given = os.environ.get("TRAINER_TEST_DATA")
    if not given:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs TRAINER_TEST_DATA, a folder with mnist/*.gz")
        pytest.skip("TRAINER_TEST_DATA names no folder with mnist/*.gz")
    folder = tmp_path / "files"
    folder.mkdir()
    for path in (Path(given) / "mnist").glob("*.gz"):
        shutil.copyfile(path, folder / path.name)
    return folder


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- names ---


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [
        ("mnits", "mnist"),
        ("digitz", "digits"),
        ("fashion-mnist", "of the form"),
        ("huggingface:mnist", "of the form"),
        ("", "of the form"),
        ("mnist/colour", "mnist has no config colour; leave it out"),
        ("glue/colla", "did you mean cola"),
        ("glue/xyz", "did you mean cola or sst2"),
        ("mnist:9.9.9", "only: 3.0.1"),
    ],
)
def test_an_unknown_dataset_is_refused_with_a_hint(tmp_path: Path, dataset: str, hint: str) -> None:
    with pytest.raises(BadInput) as refused:
        open_builder(dataset, str(tmp_path))
    assert f"--dataset={dataset}" in str(refused.value)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_opening_needs_neither_tensorflow_nor_a_network(tmp_path: Path, no_network: None) -> None:
    script = (
        "import sys; from trainer.data.prepare import is_prepared, open_builder;"
        f"assert not is_prepared(open_builder('mnist', {str(tmp_path)!r}));"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- archives on disk ---


def test_mnist_from_files_needs_no_network(
    tmp_path: Path, mnist_files: Path, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # Found by its content where its name is not TFDS's.
    (mnist_files / TEST_LABELS).rename(mnist_files / "labels.gz")
    data_dir = tmp_path / "data"
    assert offline.missing_offline("mnist", str(data_dir)) is not None
    builder = open_builder("mnist", str(data_dir))
    prepare(builder, str(mnist_files))

    assert is_prepared(builder)
    assert offline.missing_offline("mnist", str(data_dir)) is None
    assert capsys.readouterr() == ("", "")
    train = load_split(builder, "train", ["image", "label"], 2**30, "train_split")
    assert train["image"].shape == (60000, 28, 28, 1)
    assert builder.info.splits["test"].num_examples == 10000
    # The label counts that the original gives for its digits.
    assert [int((train["label"] == digit).sum()) for digit in range(10)] == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    # Apart from those of other datasets, which can have files of the same names.
    assert (data_dir / "downloads" / "extracted" / "mnist").is_dir()


def test_a_damaged_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, mnist_files: Path, no_network: None
) -> None:
    path = mnist_files / TEST_LABELS
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100] + b"\0\0\0\0" + whole[104:], b""):
        path.write_bytes(damaged)
        with pytest.raises(BadInput) as refused:
            prepare(open_builder("mnist", str(tmp_path / "data")), str(mnist_files))
        message = str(refused.value)
        assert f"--from_files={mnist_files}: {TEST_LABELS}" in message
        assert "4,542 bytes with sha256 f7ae60f92e00" in message
        assert f"found {len(damaged):,} bytes with sha256" in message
        assert not (tmp_path / "data").exists()


def test_a_missing_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, mnist_files: Path, no_network: None
) -> None:
    (mnist_files / TEST_LABELS).unlink()
    with pytest.raises(BadInput) as refused:
        prepare(open_builder("mnist", str(tmp_path / "data")), str(mnist_files))
    assert f"--from_files={mnist_files} lacks {TEST_LABELS}" in str(refused.value)
    assert "4,542 bytes" in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    builder = open_builder("mnist", str(tmp_path / "data"))
    with pytest.raises(BadInput, match=r"--from_files=/no/such is not a folder"):
        prepare(builder, "/no/such")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="lacks t10k-images-idx3-ubyte"):
        prepare(builder, str(tmp_path / "empty"))
    with pytest.raises(BadInput, match="TFDS downloads no archives for --dataset=digits"):
        prepare(open_builder("digits", str(tmp_path / "data")), str(tmp_path / "empty"))
    assert not (tmp_path / "data").exists()


# --- what lies in data_dir ---


@pytest.mark.parametrize("damage", ["removed", "cut", "no info"])
def test_a_broken_copy_is_neither_prepared_nor_reused(tmp_path: Path, damage: str) -> None:
    prepare(open_builder("digits", str(tmp_path)))
    folder = tmp_path / "digits" / "1.0.0"
    shard = folder / "digits-test.tfrecord-00000-of-00001"
    if damage == "removed":
        shard.unlink()
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:100_000])
    else:
        shard = folder / "dataset_info.json"
        shard.unlink()
    builder = open_builder("digits", str(tmp_path))
    assert not is_prepared(builder)
    with pytest.raises(BadInput) as refused:
        prepare(builder)
    assert shard.name in str(refused.value)
    assert "delete that folder and run --mode=prepare again" in str(refused.value)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("dataset", ["digits", "digits:1.0.0"])
@pytest.mark.parametrize("text", ["", '{"name": "dig'])
def test_a_garbled_description_is_named(tmp_path: Path, dataset: str, text: str) -> None:
    prepare(open_builder("digits", str(tmp_path)))
    (tmp_path / "digits" / "1.0.0" / "dataset_info.json").write_text(text)
    with pytest.raises(BadInput, match=f"{tmp_path}/digits: a JSON file there cannot be read"):
        open_builder(dataset, str(tmp_path))


def test_a_data_dir_that_cannot_hold_data(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"--data_dir=.*file cannot be written"):
        prepare(open_builder("digits", str(tmp_path / "file")))
    with pytest.raises(BadInput, match=r"--data_dir=gs:.*takes no locks"):
        builder = open_builder("digits", str(tmp_path))
        builder._data_dir_root = "gs://bucket/data"
        prepare(builder)


PREPARE_DIGITS = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("trainer").setLevel(logging.INFO)
from trainer.data.prepare import is_prepared, open_builder, prepare
builder = open_builder("digits", sys.argv[1])
assert not is_prepared(builder)
prepare(builder)
print("READ", builder.info.splits["train"].num_examples)
"""


def test_of_three_processes_one_prepares_and_two_wait(tmp_path: Path) -> None:
    with open(tmp_path / "digits.lock", "w") as lock:
        lock.write("this test")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-u", "-c", PREPARE_DIGITS, str(tmp_path)]
        processes = [subprocess.Popen(command, stdout=-1, text=True) for _ in range(3)]
        for process in processes:  # all three are at the lock before any gets it
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "Waiting for this test, which prepares digits.\n"
    logs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum("Prepared digits/1.0.0 in" in log for log in logs) == 1
    assert sum("digits/1.0.0 was prepared by another process." in log for log in logs) == 2
    assert all("READ 898" in log for log in logs)
    assert everything_in(tmp_path / "digits") == [
        "1.0.0",
        "1.0.0/dataset_info.json",
        "1.0.0/digits-test.tfrecord-00000-of-00001",
        "1.0.0/digits-train.tfrecord-00000-of-00001",
        "1.0.0/features.json",
    ]
