"""Text as blocks: every place once in evaluation, anywhere in training; refusals; samples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.support import environment, trainer_main
from trainer.errors import BadInput
from trainer.source import DataInfo, Source
from trainer.tasks.language_model import NO_TARGET, Options, Task

FIRST = 2  # token of the first character in use: before it the separator and the newline
INFO = DataInfo(name="", shapes={}, num_classes={})


def made(folder: Path, text: bytes, **options: object) -> Source:
    path = folder / "text.txt"
    path.write_bytes(text)
    return Task(Options(text=str(path), **options)).source()


def numbered(length: int) -> bytes:
    """A text in which no two places are alike: nothing but different characters."""
    return "".join(chr(0x4E00 + i) for i in range(length)).encode()


# --- blocks ---


@given(length=st.integers(20, 120), size=st.integers(1, 30))
def test_evaluation_predicts_each_token_but_the_first_once(
    tmp_path_factory: pytest.TempPathFactory, length: int, size: int
) -> None:
    source = made(
        tmp_path_factory.getbasetemp(), numbered(length), tokens="characters", block_size=size
    )
    assert source.make is not None
    found = []
    for split in ("train", "test"):
        x, y = source.batch(source.make(split))
        assert x.shape == y.shape == (len(x), size)
        counted = y.numpy() != NO_TARGET
        assert np.all(counted.any(axis=1))
        assert np.array_equal(x.numpy()[counted] + 1, y.numpy()[counted])  # what follows it
        found.append(y.numpy()[counted])
    cut = int(0.9 * length)
    assert found[0].tolist() == list(range(FIRST + 1, FIRST + cut))
    assert found[1].tolist() == list(range(FIRST + cut + 1, FIRST + length))


@pytest.mark.parametrize("length", [100, 101, 107])
def test_a_block_begins_anywhere_in_training(tmp_path: Path, length: int) -> None:
    """Of the row's own block; every block is whole but the one at the end of the text."""
    size = 10
    source = made(tmp_path, numbered(length), tokens="characters", block_size=size)
    assert source.make is not None and source.augment is not None
    rows = source.make("train")
    begins = set()
    for draw in np.linspace(0, 1 - 2**-24, 50):
        draws = tf.fill([len(rows["text"]), 1], tf.constant(draw, tf.float32))
        moved = source.augment({name: tf.constant(array) for name, array in rows.items()}, draws)
        x, y = (t.numpy() for t in source.batch(moved))
        assert np.all(y[:-1] != NO_TARGET)
        assert np.array_equal((x + 1)[y != NO_TARGET], y[y != NO_TARGET])
        offset = x[:, 0] - FIRST - size * np.arange(len(x))
        assert np.all((offset >= 0) & (offset < size))
        begins |= set(x[:, 0] - FIRST)
    last = int(0.9 * length) - size - 1  # where the last whole block begins
    assert begins >= set(range(last + 1))


def test_documents_are_packed_with_separators() -> None:
    task = Task(Options(dataset="imdb_reviews", block_size=4, prompt="ab"))
    source = task.source()
    assert source.arrange is not None and source.check is not None
    read = {"text": np.array([b"abc", b"d", b"ef"], object)}
    rows = source.arrange(read, "train")
    source.check(rows, "train", INFO)
    x, y = source.batch(rows)
    text = np.frombuffer(b"abc\0d\0ef", np.uint8).astype(int)
    assert x.numpy().reshape(-1)[:7].tolist() == text[:7].tolist()
    assert y.numpy().reshape(-1).tolist() == [*text[1:], NO_TARGET]


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "--text= with --dataset=: give one of them.*tinyshakespeare/input.txt"),
        (dict(text="a", dataset="b"), "give one of them"),
        (dict(text="/no/such/file"), "--text=/no/such/file is no file.*tinyshakespeare/input.txt"),
    ],
)
def test_no_text_is_refused_with_where_it_is_had(options: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Task(Options(**options)).source()


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(BadInput, match="--heads=3 does not divide --width=128"):
        Options(heads=3)


@pytest.mark.parametrize(
    ("text", "options", "split", "message"),
    [
        (b"a", dict(), "train", "split train, has 0 tokens: nothing to predict"),
        (b"abc", dict(), "validation", "has the splits train and test, not validation"),
        (b"ab\xff" * 9, dict(tokens="characters"), "train", "is not UTF-8 at byte 2"),
    ],
)
def test_text_that_cannot_be_learnt_is_refused(
    tmp_path: Path, text: bytes, options: dict[str, str], split: str, message: str
) -> None:
    source = made(tmp_path, text, **options)
    assert source.make is not None
    with pytest.raises(BadInput, match=message):
        source.make(split)


def test_a_prompt_that_cannot_be_said_is_refused_before_training(tmp_path: Path) -> None:
    source = made(tmp_path, b"abc\n" * 9, tokens="characters", prompt="a?")
    assert source.make is not None and source.check is not None
    rows = source.make("train")
    with pytest.raises(BadInput, match=r"--prompt=a\? has '\?' as character 1"):
        source.check(rows, "train", INFO)


def test_the_command_line_refuses_before_tensorflow_is_there() -> None:
    done = trainer_main("--task=language_model")
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1
    assert "tinyshakespeare/input.txt" in done.stderr
    program = (
        "import sys; from trainer.main import main\n"
        "assert main(['--task=language_model']) == 64\n"
        "assert 'tensorflow' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=environment())


# --- a run ---


def test_a_run_tells_tokens_and_shows_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("To be, or not to be.\n" * 20)
    done = trainer_main(
        "--task=language_model", f"--text={path}", "--block_size=8", "--layers=1", "--width=16",
        "--train_steps=4", "--steps_per_epoch=2", "--global_batch_size=8", "--generate_tokens=30",
        "--prompt=To be", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " tokens/s" in done.stderr and " tokens/s" in done.stdout
    sample = done.stdout.partition("sample:\n")[2]
    assert sample.startswith("To be")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["tokens_per_second"] == pytest.approx(8 * record["examples_per_second"])
    assert {"perplexity", "val_perplexity"} <= record["final"].keys()
