"""Every configuration reaches the result in its header, or at least starts.

Those that take under two minutes are trained; the others take two steps, on the real data where CI
has them and else on made-up data of the right shape (`tests/tasks/test_image_classification.py`).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import ROOT, trainer_main
from tests.tasks.shared_data import shared_file

CONFIGS = ROOT / "configs"
MNIST = "mnist/train-images-idx3-ubyte.gz"
SHAKESPEARE = "tiny_shakespeare/input.txt"

# Name to the metric that its header tells, the least or most it may be, and the data it needs.
TRAINED = {
    "digits": ("val_accuracy", 0.965, 1.0, ""),
    "mnist_dense": ("val_accuracy", 0.975, 1.0, MNIST),
    "mnist_convnet": ("val_accuracy", 0.988, 1.0, MNIST),
    "mlp_regression": ("val_rmse", 0.09, 0.12, ""),
    "gan_ring": ("modes_covered", 8.0, 8.0, ""),
    "tiny_shakespeare": ("val_loss", 1.0, 1.90, SHAKESPEARE),
}
STARTED = {
    "dcgan_mnist": (MNIST, []),
    "etth1_lstm": ("etth1/ETTh1.csv", ["--eval_batch_size=512"]),
    "tiny_shakespeare_8gpu_bf16": (SHAKESPEARE, ["--jit_compile=false", "--generate_tokens=10"]),
    "tiny_shakespeare_8gpu_fp16": (SHAKESPEARE, ["--jit_compile=false", "--generate_tokens=10"]),
}
ELSEWHERE = {
    "linear_regression": "tests/tasks/test_linear_regression.py trains it",
    "auto_mpg": "tests/tasks/test_csv_regression.py trains it, against ridge regression",
    "etth1_nlinear": "tests/tasks/test_forecasting.py trains it, against the paper",
    "etth1_dlinear": "likewise",
    "cifar10_resnet20": "tests/tasks/test_image_classification.py starts it on made-up images",
    "cifar10_resnet56": "likewise",
    "imagenet_resnet50": "likewise",
    "imagenet_resnet50_8gpu_bf16": "likewise",
    "imagenet_resnet50_8gpu_fp16": "likewise",
    "flowers_transfer": "likewise",
}


def test_every_configuration_is_held_by_a_test() -> None:
    held = sorted([*TRAINED, *STARTED, *ELSEWHERE])
    assert held == sorted(path.stem for path in CONFIGS.glob("*.flags"))


def test_every_header_has_its_command_and_says_what_was_measured() -> None:
    for path in CONFIGS.glob("*.flags"):
        header = " ".join(
            line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")
        )
        assert f"python -m trainer.main --flagfile=configs/{path.name}" in header, path
        assert "2 busy CPU cores" in header or "ot measured here" in header, path


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where datasets are prepared, once."""
    return tmp_path_factory.mktemp("datasets")


def flags(needs: str, data_dir: Path) -> list[str]:
    """Where the data lies that a configuration leaves to its user."""
    if needs == MNIST:
        files = Path(shared_file(MNIST)).parent
        prepare = trainer_main(
            "--mode=prepare", "--dataset=mnist", f"--from_files={files}", f"--data_dir={data_dir}"
        )
        assert prepare.returncode == 0, prepare.stderr
    elif needs:
        option = "csv" if needs.endswith(".csv") else "text"
        return [f"--{option}={shared_file(needs)}"]
    return [f"--data_dir={data_dir}"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "mlp_regression" else pytest.mark.slow) for n in TRAINED],
)
def test_the_stated_result_is_reached(name: str, data_dir: Path, tmp_path: Path) -> None:
    metric, least, most, needs = TRAINED[name]
    done = trainer_main(
        f"--flagfile={CONFIGS / name}.flags", f"--workdir={tmp_path}", "--progress=none",
        *flags(needs, data_dir),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    final = json.loads((tmp_path / "run.json").read_text())["final"]
    assert least <= final[metric] <= most, final


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTED)
def test_the_others_start(name: str, data_dir: Path, tmp_path: Path) -> None:
    needs, smaller = STARTED[name]
    done = trainer_main(
        f"--flagfile={CONFIGS / name}.flags", f"--workdir={tmp_path}", "--progress=none",
        "--train_steps=2", "--steps_per_epoch=2", "--warmup_steps=0", "--device=cpu",
        "--num_devices=0", *smaller, *flags(needs, data_dir),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Done: 2 steps" in done.stdout
