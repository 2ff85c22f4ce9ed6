"""A gradient that is not finite changes nothing, on no replica, wherever it came from."""

from __future__ import annotations

import itertools

import pytest

from tests.properties.distance import distance

# In batches of 8 in the order on disk, row 8s + 2r goes to replica r of 4 at step s: an infinite
# input comes to each of 4 replicas in turn, and twice to each of 2.
PLANTED = {1: 8, 3: 26, 5: 44, 7: 62}
FLAGS = dict(
    problem="convnet", optimizer="adam", examples=72, epochs=1, shuffle=False, ema_momentum=0.9,
    steps_per_loop=1, planted=tuple(PLANTED.values()),
)  # fmt: skip
COUNTS = [1, 2, pytest.param(4, marks=pytest.mark.slow)]


def pairs(states):
    """(step, state before it, state after it)."""
    return [(after["step"] - 1, before, after) for before, after in itertools.pairwise(states)]


def unchanged(before, after):
    return (
        distance(before["weights"], after["weights"]) == (0.0, "")
        and before["totals"].tobytes() == after["totals"].tobytes()
    )


@pytest.mark.parametrize(
    ("replicas", "compiled"),
    [
        *((n, "false") for n in (1, 2, 4)),
        pytest.param(1, "true", marks=pytest.mark.slow),
        pytest.param(2, "update", marks=pytest.mark.slow),
    ],
)
def test_skip_leaves_all_as_it_was(run, agree, replicas, compiled):
    """Weights, slots, iterations, averages, moving statistics and metrics; the data go on."""
    flags = FLAGS | dict(on_nonfinite="skip")
    states = run("stepped", replicas, **flags, jit_compile=compiled)["states"]
    assert [state["step"] for state in states] == list(range(10))
    for step, before, after in pairs(states):
        assert after["unlike"] == [], step
        assert unchanged(before, after) == (step in PLANTED), step
        assert after["skipped"] - before["skipped"] == (step in PLANTED), step
    assert states[-1]["weights"]["optimizer/loss/adam/iteration"] == 5
    one = run("stepped", 1, **flags, jit_compile="false")["states"][-1]
    agree(one, states[-1], 2e-6 if compiled == "false" else 1e-5)


@pytest.mark.parametrize("replicas", COUNTS)
@pytest.mark.parametrize("steps_per_loop", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_float32_halts_by_default(run, replicas, steps_per_loop):
    """Also within a call: the steps after it are not run."""
    result = run("stepped", replicas, **FLAGS | dict(steps_per_loop=steps_per_loop))
    last = result["states"][-1]
    assert result["halted"].startswith("step 1 (epoch 0, batch 1) has a gradient of norm")
    assert (last["step"], last["skipped"], last["unlike"]) == (2, 1, [])
    flags = FLAGS | dict(on_nonfinite="skip", jit_compile="false")
    skipped = run("stepped", replicas, **flags)["states"][2]
    assert unchanged(skipped, last)


@pytest.mark.parametrize("replicas", COUNTS)
def test_float16_halves_the_loss_scale(run, replicas):
    flags = FLAGS | dict(precision="mixed_float16", initial_loss_scale=1024)
    states = run("stepped", replicas, **flags)["states"]
    for step, before, after in pairs(states):
        assert after["unlike"] == [], step
        assert unchanged(before, after) == (step in PLANTED), step
        assert after["loss_scale"] / before["loss_scale"] == (0.5 if step in PLANTED else 1), step
        assert after["good_steps"] == (0 if step in PLANTED else 1), step


def test_float16_doubles_the_loss_scale_after_enough_good_steps(run):
    flags = dict(precision="mixed_float16", initial_loss_scale=64, loss_scale_growth_steps=3)
    states = run("stepped", 1, optimizer="sgd", epochs=1, steps_per_loop=1, examples=64, **flags)
    scales = [state["loss_scale"] for state in states["states"]]
    assert scales == [64, 64, 64, 128, 128, 128, 256, 256, 256]
