"""Weights, losses and metrics against NumPy in float64, which knows nothing of replicas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.properties.distance import distance

slow = pytest.mark.slow
COUNTS = [1, pytest.param(2, marks=slow), pytest.param(4, marks=slow)]


def network(weights, x):
    """Activations and class probabilities of the dense problem."""
    w1, b1, w2, b2 = weights
    hidden = np.tanh(x @ w1 + b1)
    logits = hidden @ w2 + b2
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def losses(weights, x, y):
    return -np.log(network(weights, x)[1][np.arange(len(y)), y])


def sgd(start, x, y, each, *, rate, by_weight, l2, batch=8, epochs=2):
    """Plain gradient descent on sum(each * loss) / (sum(each) or number) + l2 * sum(w1 ** 2)."""
    w1, b1, w2, b2 = start
    for begin in list(range(0, len(x), batch)) * epochs:
        part = slice(begin, begin + batch)
        hidden, chances = network((w1, b1, w2, b2), x[part])
        divisor = each[part].sum() if by_weight else len(x[part])
        up = (chances - np.eye(chances.shape[1])[y[part]]) * each[part, None] / divisor
        down = up @ w2.T * (1 - hidden**2)
        w1 = w1 - rate * (x[part].T @ down + 2 * l2 * w1)
        w2, b1, b2 = w2 - rate * hidden.T @ up, b1 - rate * down.sum(0), b2 - rate * up.sum(0)
    return w1, b1, w2, b2


def doubles(result, key):
    return [np.asarray(result[key][name], np.float64) for name in result["trainable"]]


@pytest.mark.parametrize("replicas", COUNTS)
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(dict(weighted=True), id="sample weights"),
        pytest.param(dict(class_weights=(0.2, 1.0, 3.0), l2=0.01), id="class weights, L2"),
        pytest.param(dict(weighted=True, weight_reduction="weighted_mean", l2=0.01), id="mean"),
    ],
)
def test_weights_are_those_of_the_formula(run, replicas, flags):
    flags = dict(optimizer="sgd", learning_rate=0.1, shuffle=False, **flags)
    result = run("trained", replicas, **flags)
    data = result["data"]["train"]
    of_classes = np.asarray(flags.get("class_weights", ()))
    each = of_classes[data["y"]] if len(of_classes) else data["weight"]
    wanted = sgd(
        doubles(result, "start"), data["x"].astype(np.float64), data["y"], each.astype(np.float64),
        rate=0.1, by_weight="weight_reduction" in flags, l2=flags.get("l2", 0.0),
    )  # fmt: skip
    for found, value in zip(doubles(result, "weights"), wanted, strict=True):
        assert np.abs(found - value).max() <= 1e-6 * np.abs(value).max()


def still(run, replicas, **flags):
    """A run whose weights stand still, so that its training metrics are those of one model."""
    return run("trained", replicas, optimizer="sgd", learning_rate=0.0, epochs=1,
               validation_split="test", eval_batch_size=6, **flags)  # fmt: skip


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=slow), 4])
def test_loss_and_accuracy_are_those_of_the_whole_split(run, replicas):
    """29 examples in batches of 6 and 35 in batches of 8 leave smaller ones at the end."""
    result = still(run, replicas, weighted=True)
    weights = doubles(result, "weights")
    for split, prefix in (("train", ""), ("test", "val_")):
        x, y, each = (result["data"][split][name] for name in ("x", "y", "weight"))
        found = {name: result["history"][prefix + name][0] for name in ("loss", "accuracy")}
        right = network(weights, x)[1].argmax(axis=1) == y
        assert found["loss"] == pytest.approx(np.mean(losses(weights, x, y) * each), rel=1e-6)
        assert found["accuracy"] == pytest.approx(np.mean(right), rel=1e-6)


@pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=slow), 4])
def test_metrics_of_several_variables(run, replicas):
    """AUC over Keras's 200 thresholds, and intersection over union."""
    result = still(run, replicas, problem="binary")
    w1, b1, w2, b2 = doubles(result, "weights")
    for split, prefix in (("train", ""), ("test", "val_")):
        x, y = (result["data"][split][name] for name in ("x", "y"))
        logits, true = (np.tanh(x @ w1 + b1) @ w2 + b2)[:, 0], y[:, 0] > 0
        thresholds = np.concatenate([[-1e-7], np.arange(1, 199) / 199, [1 + 1e-7]])
        above = 1 / (1 + np.exp(-logits)) > thresholds[:, None]
        hits, alarms = (above[:, c].mean(axis=1) for c in (true, ~true))
        area = np.sum((alarms[:-1] - alarms[1:]) * (hits[:-1] + hits[1:]) / 2)
        said = logits > 0
        overlap = np.mean([np.sum(true & said) / np.sum(true | said),
                           np.sum(~true & ~said) / np.sum(~true | ~said)])  # fmt: skip
        found = {name: values[0] for name, values in result["history"].items()}
        assert found[f"{prefix}auc"] == pytest.approx(area, abs=1e-6)
        assert found[f"{prefix}binary_io_u"] == pytest.approx(overlap, abs=1e-6)


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=slow)])
def test_two_objectives(run, agree, replicas):
    """Two losses and optimizers from one forward pass: as two tapes by hand on one device."""
    flags = dict(problem="game", examples=35, shuffle=False)
    one = run("trained", 1, **flags)
    agree(one, run("trained", replicas, **flags), 2e-6)
    for name, wanted in zip(one["trainable"], run("two_tapes", 1, **flags), strict=True):
        assert distance({"": wanted}, {"": one["weights"][name]})[0] <= 2e-6, name
    assert one["history"].keys() == {"loss", "judge"}
    assert one["history"]["loss"][0] != one["history"]["judge"][0]
