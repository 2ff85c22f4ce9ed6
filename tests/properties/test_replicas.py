"""One answer on any number of replicas, for every optimizer and all that a step can hold.

Tolerance: sums in another order differ by a few units in the last place of float32 (6e-8) a step.
Over the 8 or 10 steps of these runs the farthest variable was 7e-7 of its size away.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from trainer.config import OPTIMIZERS

TOLERANCE = 2e-6

# 35 examples in batches of 8, or 99 in batches of 32: the last batch has 3, fewer than 4 replicas;
# 37: it has 5, in unequal parts.
FAST: dict[str, dict[str, Any]] = {
    "all of a dense net's": dict(
        problem="dense", optimizer="adam", clip_norm=0.3, weighted=True, l2=0.01, ema_momentum=0.9,
        accumulation_steps=4, global_batch_size=32, examples=99, validation_split="test",
        eval_batch_size=5,
    ),
    "batch norm": dict(
        problem="convnet", optimizer="momentum", clip_norm=0.3, l2=0.01, examples=37,
        validation_split="test",
    ),
    "mask of a layer": dict(
        problem="tokens", optimizer="adamw", weight_decay=0.01, weighted=True,
        weight_reduction="weighted_mean",
    ),
    "mask of the task": dict(problem="masked", optimizer="lion", weighted=True, examples=37),
    "repeated indices": dict(problem="bag", optimizer="sgd", learning_rate=0.1, clip_norm=0.05),
}  # fmt: skip

PROBLEMS = {
    "dense": dict(l2=0.01, examples=35),
    "convnet": dict(l2=0.01, examples=37),
    "tokens": dict(weighted=True, examples=35),
    "masked": dict(weighted=True, examples=37, weight_reduction="weighted_mean"),
}
SETTINGS = {
    "plain": dict(),
    "clip, average": dict(clip_norm=0.2, ema_momentum=0.9),
    "accumulation": dict(accumulation_steps=4, global_batch_size=32, examples=99),
}
FAST_OPTIMIZERS = {("muon", "false"), ("nadam", "false")}  # the others differ less from Adam


def cases():
    """(flags, replicas): a few on 2 and 4 fast, on 8 slowly; optimizer x problem x setting on 4."""
    slow = pytest.mark.slow
    for name, flags in FAST.items():
        for n in (2, 4, 8):
            yield pytest.param(flags, n, id=f"{name}-{n}", marks=slow if n == 8 else ())
    optimizers = ("sgd", "momentum", "adam", "adamw", "lion")
    for optimizer, problem, setting in itertools.product(optimizers, PROBLEMS, SETTINGS):
        # a micro-batch is normalised by itself, and the replicas decide which examples it has
        if (problem, setting) != ("convnet", "accumulation"):
            decay = dict(weight_decay=0.1) if optimizer == "adamw" else {}
            own = dict(problem=problem, optimizer=optimizer, **decay)
            flags = own | PROBLEMS[problem] | SETTINGS[setting]
            yield pytest.param(flags, 4, id=f"{optimizer}-{problem}-{setting}", marks=slow)


@pytest.mark.parametrize(("flags", "replicas"), list(cases()))
def test_weights_do_not_depend_on_the_replicas(run, agree, flags, replicas):
    """Weights, slots, averages, moving statistics; on all replicas the same."""
    one, several = run("trained", 1, **flags), run("trained", replicas, **flags)
    agree(one, several, TOLERANCE)
    for name, values in one["history"].items():
        assert several["history"][name] == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize(
    ("precision", "flags", "tolerance"),
    [
        # 8 bits and 11 bits of mantissa: one rounding is 4e-3 and 5e-4
        ("mixed_bfloat16", dict(problem="dense", learning_rate=0.1), 1e-2),
        ("mixed_float16", dict(problem="dense", learning_rate=0.1, initial_loss_scale=2**10), 2e-3),
    ],
)
@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_half_precision_agrees_to_its_rounding(run, agree, replicas, precision, flags, tolerance):
    """Under float16 with a loss scale at which nothing overflows."""
    flags = flags | dict(optimizer="sgd", precision=precision, weighted=True)
    agree(run("trained", 1, **flags), run("trained", replicas, **flags), tolerance)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_loss_scale_settles(run, replicas):
    """From far too high it falls, step by step, until the gradients are finite."""
    flags = dict(optimizer="sgd", precision="mixed_float16", initial_loss_scale=2.0**24, epochs=4)
    result = run("trained", replicas, **flags)
    assert result["unlike"] == []
    assert result["loss_scale"] == 2.0 ** (24 - result["skipped"])
    assert 0 < result["skipped"] < result["step"] == 20
    assert result["weights"]["optimizer/loss/sgd/iteration"] == 20 - result["skipped"]


@pytest.mark.parametrize(
    ("optimizer", "compiled"),
    [
        pytest.param(o, c, marks=() if (o, c) in FAST_OPTIMIZERS else pytest.mark.slow)
        for o in OPTIMIZERS
        for c in ("false", "update")
    ],
)
def test_every_optimizer_trains(run, agree, optimizer, compiled):
    flags = dict(problem="bag", optimizer=optimizer, train_steps=3, weight_decay=0.01)
    one = run("trained", 1, **flags)
    for name in one["trainable"]:
        assert np.any(one["weights"][name] != one["start"][name]), name
    several = run("trained", 2, **flags, jit_compile=compiled)
    agree(one, several, TOLERANCE if compiled == "false" else 1e-5)
