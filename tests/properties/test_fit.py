"""Against `model.fit()`: to the bit where fit is right; where it is wrong, both numbers."""

from __future__ import annotations

import pytest

from tests.properties.distance import distance

# 48 examples in batches of 8: equal splits on 1, 2 and 4 replicas, 12 steps in 2 epochs. Dividing
# by a power of two rounds nothing, so the two loops' sums are the same to the bit.
EQUAL = dict(examples=48, validation_split="test")
SETTINGS = {
    "L2, class weights": dict(problem="dense", l2=0.01, class_weights=(0.5, 1.0, 2.0)),
    "dropout, batch norm": dict(problem="convnet", dropout=0.3, keras_semantics=True),
}
FAST = {("adam", "L2, class weights", 2), ("momentum", "dropout, batch norm", 2)}


@pytest.mark.parametrize(
    ("optimizer", "setting", "replicas"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
        for optimizer in ("sgd", "momentum", "adam", "adamw")
        for setting in SETTINGS
        for replicas in (1, 2, 4)
        for case in [(optimizer, setting, replicas)]
    ],
)
def test_equal_to_the_bit_on_equal_splits(run, agree, optimizer, setting, replicas):
    flags = EQUAL | SETTINGS[setting] | dict(optimizer=optimizer)
    tape, fit = (run("trained", replicas, loop=loop, **flags) for loop in ("tape", "fit"))
    # On one replica TensorFlow's graph optimiser ("arithmetic_optimization") writes the gradient of
    # BatchNormalization another way in fit's graph: 1.6e-7, and 0.0 with that optimiser off.
    rounding = 5e-7 if replicas == 1 and "keras_semantics" in flags else 0.0
    # as in Keras, each replica has its own moving statistics: all of them are compared
    agree(tape, fit, rounding, alike="keras_semantics" not in flags)
    assert tape["step"] == fit["step"] == 12
    assert tape["history"].keys() == fit["history"].keys() >= {"val_loss", "val_accuracy"}
    for name, values in fit["history"].items():
        assert tape["history"][name] == pytest.approx(values, rel=2e-6), name


WRONG = {
    "partial batch": dict(examples=45),
    "mask": dict(problem="tokens"),
    "weighted mean": dict(weighted=True, weight_reduction="weighted_mean"),
    # Keras squares a row's gradients one by one, not their sum: on one replica too
    "repeated rows": dict(problem="bag", optimizer="adam", learning_rate=0.01, weighted=True),
}


@pytest.mark.parametrize(
    ("name", "replicas"),
    [
        pytest.param(name, n, marks=() if (name, n) == ("partial batch", 2) else pytest.mark.slow)
        for name in WRONG
        for n in (2, 4)
    ],
)
def test_fit_is_wrong_where_the_tape_is_right(run, agree, name, replicas):
    """It averages the replicas' means: of 3 and 2 examples, or of as many as a mask leaves."""
    flags = dict(optimizer="sgd", learning_rate=0.1, examples=48) | WRONG[name]
    truth = run("trained", 1, **flags)
    agree(truth, run("trained", replicas, **flags), 1e-6)
    fit = run("trained", replicas, loop="fit", **flags)
    assert distance(truth["weights"], fit["weights"])[0] > 1e-3
