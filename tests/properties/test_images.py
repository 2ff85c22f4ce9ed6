"""Augmentation and mixtures are one answer too: on any number of replicas, in both loops."""

from __future__ import annotations

import pytest

# Single images and pairs; labels become distributions. 35 in batches of 8: the last one has 3.
ALL = dict(
    task="tests.made", model="dense", examples=35, image_size=6, random_resized_crop=True,
    flip=True, shift=1, rand_augment=9.0, mixup=0.4, cutmix=1.0, label_smoothing=0.1,
    pixel_mean=(0.5,), pixel_std=(0.25,), optimizer="momentum", learning_rate=0.05,
    validation_split="test",
)  # fmt: skip
MIXED = dict(
    task="tests.made", model="dense", mixup=0.4, optimizer="adam", validation_split="test",
)  # fmt: skip


@pytest.mark.parametrize("flags", [ALL, MIXED | {"examples": 37}], ids=["all", "mixup"])
@pytest.mark.parametrize("replicas", [2, 4])
def test_weights_do_not_depend_on_the_replicas(run, agree, flags, replicas):
    """Rounding alone, as for `tests/properties/test_replicas.py`."""
    one, several = run("trained", 1, **flags), run("trained", replicas, **flags)
    agree(one, several, 2e-6)
    for name, values in one["history"].items():
        assert several["history"][name] == pytest.approx(values, rel=1e-6), name


def test_both_loops_mix_alike(run, agree):
    flags = MIXED | {"examples": 48, "cutmix": 1.0, "label_smoothing": 0.1}
    tape, fit = (run("trained", 2, loop=loop, **flags) for loop in ("tape", "fit"))
    agree(tape, fit, 0.0)
    assert tape["history"].keys() == fit["history"].keys() >= {"accuracy", "val_accuracy"}
    for name, values in fit["history"].items():
        assert tape["history"][name] == pytest.approx(values, rel=2e-6), name


def test_a_frozen_backbone_stays_as_it_was(run):
    """No gradient, no slots, no decay; its BatchNormalization keeps its statistics."""
    result = run(
        "trained", 1, task="tests.made_images", dataset="tf_flowers", model="mobilenet_v3_small",
        freeze=("backbone",), image_size=32, optimizer="adamw", weight_decay=0.1, train_steps=2,
    )  # fmt: skip
    assert result["trainable"] == ["model/logits/kernel", "model/logits/bias"]
    for name, start in result["start"].items():
        if name.startswith("model/"):
            same = (result["weights"][name] == start).all()
            assert same == (name not in result["trainable"]), name
    slots = [name for name in result["weights"] if "momentum" in name or "velocity" in name]
    assert slots and all("logits" in name for name in slots)
