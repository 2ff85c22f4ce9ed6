"""What the loop and the step promise besides: calls, clipping, accumulation, dropout, XLA."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trainer.errors import BadInput

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("replicas", "problem"),
    [
        (2, "dense"),
        pytest.param(1, "convnet", marks=slow),
        pytest.param(4, "convnet", marks=slow),
    ],
)
def test_steps_per_loop_changes_nothing(run, agree, replicas, problem):
    flags = dict(problem=problem, dropout=0.3, ema_momentum=0.9, validation_split="test")
    runs = [run("trained", replicas, **flags, steps_per_loop=n) for n in (1, 7, 100)]
    for other in runs[1:]:
        agree(runs[0], other, 0.0)
        for name, values in runs[0]["history"].items():
            assert other["history"][name] == pytest.approx(values, rel=1e-6), name


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_the_reduced_gradient_is_clipped(run, replicas):
    """SGD's one step has length rate times norm; clipped before the sum, it would be longer by up
    to the number of replicas."""
    flags = dict(problem="bag", optimizer="sgd", learning_rate=0.5, clip_norm=0.01, train_steps=1)
    result = run("trained", replicas, **flags)
    moved = [result["weights"][name] - result["start"][name] for name in result["trainable"]]
    length = np.sqrt(sum(np.sum(np.square(m, dtype=np.float64)) for m in moved))
    assert result["gradient_norm"] > 0.01
    assert length == pytest.approx(0.5 * 0.01, rel=1e-5)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=slow), pytest.param(4, marks=slow)])
def test_accumulation_is_one_batch(run, agree, replicas):
    """Also of a last batch of 3, with fewer examples than micro-batches."""
    flags = dict(problem="tokens", optimizer="momentum", weighted=True, clip_norm=0.2)
    flags |= dict(global_batch_size=32, examples=99)
    agree(
        run("trained", replicas, **flags),
        run("trained", replicas, **flags, accumulation_steps=4),
        1e-6,
    )


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=slow)])
@pytest.mark.parametrize("keras_semantics", [False, True])
def test_dropout_differs_between_replicas_unless_as_in_keras(run, replicas, keras_semantics):
    masks = run("dropped", replicas, dropout=0.5, keras_semantics=keras_semantics)
    for one, other in itertools.combinations(masks, 2):
        assert np.array_equal(one, other) == keras_semantics
    for first, second in masks:
        assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("replicas", "compiled"),
    [(1, "true"), (2, "true"), (2, "update"), pytest.param(1, "update", marks=slow)],
)
def test_xla_gives_the_same(run, agree, replicas, compiled):
    flags = dict(optimizer="adam", weighted=True, clip_norm=0.3, l2=0.01)
    plain = run("trained", replicas, **flags)
    agree(plain, run("trained", replicas, **flags, jit_compile=compiled), 1e-5)


def test_xla_refuses_synchronised_statistics(run):
    flags = dict(problem="convnet", jit_compile="true")
    with pytest.raises(BadInput, match="cannot hold synchronised BatchNormalization"):
        run("trained", 2, **flags)


def test_deterministic_kernels_give_the_same(run, agree):
    """TensorFlow refuses some operations with them (a clock, for one)."""
    flags = dict(problem="convnet", optimizer="momentum", examples=37, dropout=0.3)
    agree(run("trained", 2, **flags), run("trained", 2, **flags, deterministic=True), 2e-6)
