"""The command line from outside: what a person sees who asks for help, or types something wrong.

Every refusal is one line on stderr that names the flag, the value and the way out; its exit code
is 64, and nothing is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.support import command, environment, files_in, in_process, trainer_main
from trainer.errors import BAD_INPUT, HALTED, OK

HELP_SECONDS = 3.0  # 0.15 on a quiet machine


def assert_refused(stderr: str, *words: str) -> None:
    """One line, from the trainer, with these words in it."""
    lines = stderr.splitlines()
    said = [line for line in lines if line.startswith("trainer: ")]
    assert len(said) == 1 and said == lines[-1:], stderr
    assert "Traceback" not in stderr and "Error" not in said[0], stderr
    for word in words:
        assert word in said[0], said[0]
    # one sentence: a full stop is followed by no other
    assert said[0].rstrip(".?").count(". ") == 0, said[0]


# --- before TensorFlow ---


def test_help_answers_at_once() -> None:
    began = time.monotonic()
    done = trainer_main("--help")
    seconds = time.monotonic() - began
    assert done.returncode == OK and done.stderr == ""
    assert seconds < HELP_SECONDS
    for line in ("Run:", "Data:", "Loop:", "Step:", "Optimizer:", "Image classification:"):
        assert line in done.stdout.splitlines()
    for flag in ("--epochs=<int>", "--loop=<tape|fit>", "--dropout=<float>", "--flip=<bool>"):
        assert f"  {flag}" in done.stdout.splitlines()


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--epochs=0", "--helpfull"]])
def test_help_does_without_tensorflow(words: list[str]) -> None:
    program = (
        "import sys; from trainer.main import main; code = main(sys.argv[1:]);"
        "heavy = {'tensorflow', 'keras', 'numpy', 'tensorflow_datasets'} & set(sys.modules);"
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == OK, done.stderr


def test_help_shows_a_users_task() -> None:
    done = trainer_main("--help", "--task=tests.made")
    assert "Made images:" in done.stdout and "  --examples=<int>" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["--help", "--task=tests.made"]])
def test_help_may_be_cut_off(words: list[str]) -> None:
    """`--help | head` is no error: here nobody reads at all."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(*words), env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (OK, "")


QUICKLY_REFUSED = {
    "unknown flag": (["--learning_rat=1"], ["--learning_rat", "did you mean --learning_rate?"]),
    "stray word": (["train"], ["'train'", "--name=value"]),
    "flagfile missing": (["--flagfile=configs/none.flags"], ["--flagfile=configs/none.flags"]),
    "flagfile in itself": (["--flagfile=self.flags"], ["--flagfile=self.flags", "includes itself"]),
    "not finite": (["--learning_rate=nan"], ["--learning_rate=nan", "finite"]),
    "too large": (["--learning_rate=1e400"], ["--learning_rate=1e400", "finite"]),
    "out of range": (["--global_batch_size=0"], ["--global_batch_size=0", "at least 1"]),
    "empty value": (["--data_dir="], ["--data_dir=", "is empty", "leave the flag out"]),
    "no dataset": (["--dataset="], ["--dataset=", "is empty"]),
    "wrong choice": (["--optimizer=adan"], ["--optimizer=adan", "did you mean adam?"]),
    "unknown task": (["--task=image"], ["--task=image", "image_classification"]),
    "several lines": (["--epochs=1\n2"], ["--epochs=1 2", "not an integer"]),
    "clipnorm": (
        ["--optimizer_args=clipnorm=1.0"],
        ["--optimizer_args=clipnorm=1.0", "before the all-reduce", "use --clip_norm"],
    ),
    "accumulation of Keras": (
        ["--optimizer_args=gradient_accumulation_steps=4"],
        ["--optimizer_args=gradient_accumulation_steps=4", "use --accumulation_steps"],
    ),
    "piecewise without boundaries": (
        ["--schedule=piecewise"],
        ["--schedule=piecewise", "--schedule_boundaries=", "give both"],
    ),
    "boundaries without piecewise": (
        ["--schedule_boundaries=5"],
        ["--schedule=constant", "--schedule_boundaries=5", "give both"],
    ),
    "plateau with a schedule": (
        ["--reduce_lr_patience=2", "--schedule=cosine"],
        ["--reduce_lr_patience=2", "--schedule=cosine", "use one or the other"],
    ),
    "clipping in fit": (
        ["--loop=fit", "--clip_norm=1"],
        ["--clip_norm=1.0", "--loop=fit", "use --loop=tape"],
    ),
}


@pytest.mark.parametrize("case", QUICKLY_REFUSED)
def test_wrong_flags_are_refused_at_once(case: str, tmp_path: Path) -> None:
    flags, words = QUICKLY_REFUSED[case]
    (tmp_path / "self.flags").write_text("--epochs=2\n--flagfile=self.flags\n")
    began = time.monotonic()
    done = trainer_main(*flags, cwd=tmp_path)
    assert time.monotonic() - began < HELP_SECONDS
    assert done.returncode == BAD_INPUT and done.stdout == ""
    assert_refused(done.stderr, *words)
    assert done.stderr.count("\n") == 1
    assert files_in(tmp_path) == ["self.flags"]


@pytest.mark.parametrize(
    ("variable", "value"), [("KERAS_BACKEND", "jax"), ("TF_USE_LEGACY_KERAS", "1")]
)
@pytest.mark.parametrize("task", ["image_classification", "tests.callbacks.infinite"])
def test_another_keras_is_refused(variable: str, value: str, task: str, tmp_path: Path) -> None:
    """Before anything imports it: a user's own task may do so on top of its file."""
    done = trainer_main(f"--task={task}", env={variable: value}, cwd=tmp_path)
    assert done.returncode == BAD_INPUT
    assert_refused(done.stderr, f"{variable}={value}", "unset it")
    assert files_in(tmp_path) == []


NO_NETWORK = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "ftp", "all")} | {
    "no_proxy": ""
}


def test_a_dataset_that_cannot_be_had_is_refused_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    done = trainer_main(
        "--dataset=mnist", f"--data_dir={tmp_path / 'data'}", env=NO_NETWORK, cwd=tmp_path
    )
    assert time.monotonic() - began < HELP_SECONDS
    assert done.returncode == BAD_INPUT
    assert_refused(
        done.stderr, "--dataset=mnist", f"--data_dir={tmp_path / 'data'}", "--mode=prepare",
        "--from_files=FOLDER",
    )  # fmt: skip
    assert files_in(tmp_path) == []


# --- with TensorFlow: all in one process, on two logical devices ---


def refuse_all(folder: str, cases: dict[str, list[str]]) -> dict[str, Any]:
    """Runs the command line once for each case; its code, its stderr, and the files it left."""
    import trainer.main

    os.chdir(folder)
    told = {}
    for name, flags in cases.items():
        before, errors = files(), io.StringIO()
        output = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
            try:
                code: Any = trainer.main.main(flags)
            except BaseException:
                code = traceback.format_exc()
        left = sorted(path for path, state in files().items() if before.get(path) != state)
        told[name] = {"code": code, "stderr": errors.getvalue(), "left": left}
        told[name]["stdout"] = output.getvalue()
    return told


def files() -> dict[str, float]:
    """Every file below the current folder, and when it changed; without datasets.

    A lock that was there before is taken by a run that is refused too.
    """
    return {
        str(path): path.name != "lock" and path.stat().st_mtime_ns
        for path in Path().rglob("*")
        if path.is_file() and path.parts[0] != "data"
    }


MADE = ["--task=tests.made", "--global_batch_size=8", "--steps_per_loop=6", "--width=3"]
DIGITS = ["--data_dir=data", "--width=2", "--model=dense"]
QUIET = ["--num_logical_devices=2", "--progress=none", "--notensorboard"]

# Name to the flags and the words that must be in the refusal. The last --workdir counts.
REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "batch not divisible": (
        [*MADE, "--global_batch_size=7"],
        ["--global_batch_size=7", "2 replicas", "take 6 or 8"],
    ),
    "batch less than the replicas": (
        [*MADE, "--global_batch_size=1"],
        ["--global_batch_size=1", "2 replicas", "take 2"],
    ),
    "more micro-batches than examples": (
        [*MADE, "--accumulation_steps=5"],
        ["--accumulation_steps=5", "4 examples", "--global_batch_size=8", "take fewer"],
    ),
    "more devices": (
        [*MADE, "--num_logical_devices=0", "--num_devices=99"],
        ["--num_devices=99", "take fewer", "--num_logical_devices"],
    ),
    "other devices": (
        [*MADE, "--num_logical_devices=4"],
        ["--num_logical_devices=4", "2 devices", "start a new process"],
    ),
    "no GPU": ([*MADE, "--device=gpu"], ["--device=gpu", "--device=auto"]),
    "NCCL without GPUs": ([*MADE, "--all_reduce=nccl"], ["--all_reduce=nccl", "auto"]),
    "workdir under a file": (
        [*MADE, "--workdir=a_file/run"],
        ["--workdir=a_file/run", "cannot be written", "choose a folder"],
    ),
    "another model": (
        [*MADE, "--workdir=good", "--width=4"],
        ["--workdir=good", "model/hidden/kernel is (16, 3)", "(16, 4)", "another --workdir"],
    ),
    "another optimizer": (
        [*MADE, "--workdir=good", "--optimizer=sgd"],
        ["--workdir=good", "optimizer/loss/adam/", "another --workdir"],
    ),
    "another batch size": (
        [*MADE, "--workdir=good", "--global_batch_size=2", "--epochs=9"],
        ["--workdir=good", "step 6", "epochs of 24 steps", "--global_batch_size"],
    ),
    "fit with a part of an epoch": (
        [*MADE, "--loop=fit", "--train_steps=7"],
        ["--train_steps=7", "6 steps", "--loop=fit", "--loop=tape"],
    ),
    "fit with float16": (
        [*MADE, "--loop=fit", "--precision=mixed_float16"],
        ["--precision=mixed_float16", "--loop=fit", "use --loop=tape"],
    ),
    "XLA with BatchNormalization": (
        [*MADE, "--jit_compile=true", "--batch_norm"],
        ["--jit_compile=true", "BatchNormalization", "--keras_semantics"],
    ),
    "warm-up as long as the run": (
        [*MADE, "--warmup_steps=60", "--schedule=cosine"],
        ["--warmup_steps=60", "60 steps of the run", "shorten it or train longer"],
    ),
    "an argument that Keras has not": (
        [*MADE, "--optimizer_args=beta_9=1"],
        ["--optimizer_args=beta_9=1", "Adam", "beta_9", "give arguments that it takes"],
    ),
    "init_from nothing": (
        [*MADE, "--init_from=missing"],
        ["--init_from=missing", "no whole checkpoint", "give one's folder"],
    ),
    "a metric to stop by that is not measured": (
        [*MADE, "--early_stopping_patience=1", "--early_stopping_metric=val_acc"],
        ["--early_stopping_metric=val_acc", "loss, accuracy, val_loss, val_accuracy"],
    ),
    "a best metric that is not measured": (
        [*MADE, "--best_metric=val_acc"],
        ["--best_metric=val_acc", "loss, accuracy, val_loss, val_accuracy"],
    ),
    "early stopping without evaluation": (
        [*MADE, "--early_stopping_patience=1", "--validation_split=none"],
        ["--early_stopping_metric=val_loss", "set --validation_split"],
    ),
    "a plateau without evaluation": (
        [*MADE, "--reduce_lr_patience=1", "--validation_split=none"],
        ["--reduce_lr_patience=1", "val_loss", "set --validation_split"],
    ),
    "no examples": (
        [*MADE, "--examples=0"],
        ["--train_split=train is empty", "train (0 examples)"],
    ),
    "prepare what is made": (
        ["--mode=prepare", *MADE],
        ["--mode=prepare", "--task=tests.made", "makes its own data"],
    ),
    "dataset unknown": (
        [*DIGITS, "--dataset=digitz"],
        ["--dataset=digitz", "--data_dir=", "did you mean digits?"],
    ),
    "an empty split": (
        [*DIGITS, "--train_split=train[:0]"],
        ["--train_split=train[:0] is empty", "train (898 examples)"],
    ),
    "a split that is not there": (
        [*DIGITS, "--validation_split=dev"],
        ["--validation_split=dev", "Unknown split", "test (899 examples)"],
    ),
    "a split smaller than a batch": (
        [*DIGITS, "--train_split=train[:10]"],
        ["--global_batch_size=64", "10 examples", "--train_split=train[:10]", "take at most 10"],
    ),
    "weights for other classes": (
        [*DIGITS, "--class_weights=1,2"],
        ["--class_weights=1.0,2.0", "2 weights", "10 classes", "one weight a class"],
    ),
    "too little memory": (
        [*DIGITS, "--reader=memory", "--memory_budget_gib=0.00001"],
        ["--memory_budget_gib=", "--dataset=digits", "raise it"],
    ),
    "a label out of range": (
        [*DIGITS, "--dataset=fives"],
        ["--dataset=fives", "row 5 of split train has the label 5", "[0, 5)", "more classes"],
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each case told; `good` is a workdir with a finished run of one epoch."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "a_file").write_text("")
    cases = {
        "good": [*MADE, *QUIET, "--workdir=good", "--epochs=1"],
        "not finite": [*MADE, *QUIET, "--workdir=halted", "--bad_pixel=3", "--epochs=1"],
        "data": ["--mode=prepare", "--data_dir=data"],
    }
    told = in_process("tests.test_main:prepared_and_refused", str(folder), cases, {
        name: [*QUIET, "--workdir=fresh", *flags] for name, (flags, _) in REFUSED.items()
    })  # fmt: skip
    for name in ("good", "data"):
        assert told[name]["code"] == OK, told[name]
    return told


def prepared_and_refused(
    folder: str, cases: dict[str, list[str]], refused: dict[str, list[str]]
) -> dict[str, Any]:
    """Both, and between them a copy of digits that claims to have five classes."""
    told = refuse_all(folder, cases)
    prepared = Path("data/digits/1.0.0")
    claiming = Path(shutil.copytree(prepared, "data/fives/1.0.0"))
    for name, old, new in (
        ("dataset_info.json", '"name": "digits"', '"name": "fives"'),
        ("features.json", '"numClasses": "10"', '"numClasses": "5"'),
    ):
        content = (prepared / name).read_text()
        assert old in content, content
        (claiming / name).write_text(content.replace(old, new))
    for path in claiming.glob("digits-*"):
        path.rename(path.with_name(path.name.replace("digits", "fives")))
    return told | refuse_all(folder, refused)


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(told: Any, case: str) -> None:
    one, (_, words) = told[case], REFUSED[case]
    assert one["code"] == BAD_INPUT, one["code"]
    assert_refused(one["stderr"], *words)
    assert one["stdout"] == "" and one["left"] == []


def test_a_good_run_says_what_came_of_it(told: Any) -> None:
    lines = told["good"]["stdout"].splitlines()
    assert lines[0].startswith("Done: 6 steps")
    assert "Traceback" not in told["good"]["stderr"]
    text = "\n".join(lines)
    for word in ("best (val_loss)", "final:", "good/checkpoints", "good/run.json"):
        assert word in text


def test_a_step_that_is_not_finite_halts_the_run(told: Any) -> None:
    """With another code than bad input, the step, and three ways out; nothing of it is kept."""
    one = told["not finite"]
    assert one["code"] == HALTED, one["code"]
    last = one["stderr"].splitlines()[-1]
    assert last.startswith("trainer: step ") and "Traceback" not in one["stderr"]
    for word in ("epoch 0", "norm", "--learning_rate", "--clip_norm", "--on_nonfinite=skip"):
        assert word in last
    assert "halted/run.json" in one["left"]
    assert not [path for path in one["left"] if "checkpoints" in path]


def test_preparing_says_what_there_is(told: Any) -> None:
    assert told["data"]["stdout"].startswith("digits/1.0.0 is ready in ")
    assert "train 898, test 899" in told["data"]["stdout"]


# --- the exit code, for real ---


def test_a_run_leaves_with_its_code_and_its_record(tmp_path: Path) -> None:
    done = trainer_main(*MADE, "--epochs=1", "--workdir=run", cwd=tmp_path)
    assert done.returncode == OK, done.stderr
    assert "Done: 6 steps" in done.stdout
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "done"
    # nothing of TensorFlow's start-up lines
    assert [line for line in done.stderr.splitlines() if "cpu" in line.lower()] == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--mode=evaluate", "--workdir=nowhere"],
        ["--mode=export", "--workdir=nowhere"],
        ["--mode=predict", "--input=a.png", "--workdir=nowhere"],
        ["--dataset=./nowhere"],
        ["--tf_data_service=grpc://localhost:1"],
    ],
)
def test_what_is_not_there_is_named_before_tensorflow_is_imported(
    flags: list[str], tmp_path: Path
) -> None:
    program = (
        f"import sys; from trainer.main import main\nassert main({flags}) == 64\n"
        "assert 'tensorflow' not in sys.modules"
    )
    asked = [sys.executable, "-c", program]
    done = subprocess.run(asked, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert flags[-1] in done.stderr and not any(tmp_path.iterdir())
