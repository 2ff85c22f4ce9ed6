"""The task's flags: what they refuse, and configs without their data at hand."""

from __future__ import annotations

import sys

import pytest

from tests.support import ROOT, in_process, trainer_main
from trainer.config import configure
from trainer.errors import BadInput
from trainer.tasks.image_classification import Task


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (dict(model="resnet", depth=21), "--depth=21"),
        (dict(model="resnet", batch_norm=True), "--batch_norm"),
        (dict(model="resnet50", width=3), "--width=3"),
        (dict(model="convnet", weights="imagenet"), "--weights=imagenet"),
        (dict(model="vgg16", pixel_mean=(0.5,), pixel_std=(0.5,)), "--pixel_mean=0.5"),
        (dict(pixel_mean=(0.5, 0.4, 0.3), pixel_std=(0.5,)), "--pixel_std=0.5"),
        (dict(random_resized_crop=True), "--random_resized_crop without --image_size"),
        (dict(class_weights=(1.0, 2.0), mixup=0.2), "--class_weights with --mixup=0.2"),
        (dict(class_weights=(1.0, 2.0), cutmix=1.0), "--cutmix=1.0"),
        (dict(rand_augment=11.0), "--rand_augment=11.0"),
        (dict(model="resnet5"), "did you mean resnet50?"),
    ],
)
def test_wrong_mixtures_are_refused_in_a_sentence(flags, named):
    with pytest.raises(BadInput) as refused:
        configure(**flags)
    assert named in str(refused.value) and "\n" not in str(refused.value)


def test_pixel_means_are_one_a_channel(tmp_path):
    done = trainer_main(
        "--pixel_mean=0.5,0.5,0.5", "--pixel_std=0.2,0.2,0.2", "--dataset=digits", cwd=tmp_path
    )
    assert done.returncode == 64
    assert "--pixel_mean=0.5,0.5,0.5 has 3 numbers for images of 1 channels" in done.stderr


def test_the_source_is_told_before_tensorflow_is_imported():
    """Importing settles which Keras it is, and running it how many devices there are."""
    assert in_process("tests.tasks.test_image_classification:imported_by_source") == []


def imported_by_source() -> list[str]:
    config = configure(
        image_size=8, random_resized_crop=True, flip=True, shift=1, rand_augment=9.0, mixup=0.2,
        cutmix=1.0, label_smoothing=0.1, model="resnet50", freeze=("backbone",),
    )  # fmt: skip
    source = Task(config.task_options).source()
    assert source.num_draws == 35 and source.decode and source.augment and source.mix
    return [name for name in ("tensorflow", "keras") if name in sys.modules]


SMALLER = (
    "--task=tests.made_images", "--device=cpu", "--num_devices=0", "--train_steps=2",
    "--global_batch_size=8", "--warmup_steps=1", "--progress=none",
)  # fmt: skip
CONFIGS = {
    "cifar10_resnet20": ["--remat"],
    "cifar10_resnet56": [],
    "imagenet_resnet50": ["--image_size=64", "--rand_augment=9", "--mixup=0.2", "--cutmix=1"],
    "imagenet_resnet50_8gpu_bf16": ["--image_size=64"],
    "imagenet_resnet50_8gpu_fp16": ["--image_size=64"],
    "flowers_transfer": ["--image_size=64", "--weights=none"],
}
FAST = ("cifar10_resnet20",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CONFIGS]
)
def test_configs_start_on_made_up_data(name, tmp_path):
    done = trainer_main(
        f"--flagfile={ROOT / 'configs' / name}.flags", *SMALLER, *CONFIGS[name],
        f"--workdir={tmp_path / 'run'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Done: 2 steps" in done.stdout and "val_accuracy" in done.stdout
