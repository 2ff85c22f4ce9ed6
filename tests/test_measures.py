"""Losses and metrics as sums: the same over parts as over the whole."""

from __future__ import annotations

import inspect
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import BadInput
from trainer.measures import Measures
from trainer.task import Outcome, PerExample

RNG = np.random.default_rng(0)
ONE_HOT = np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 40)]
CHANCES = keras.ops.convert_to_numpy(keras.ops.softmax(RNG.normal(size=(40, 3)).astype(np.float32)))
BINARY = (ONE_HOT[:, :1], CHANCES[:, :1])
LABELS = (ONE_HOT.argmax(axis=1), CHANCES)

ARGUMENTS = {
    "F1Score": dict(average="macro"),
    "FBetaScore": dict(average="macro"),
    "MeanIoU": dict(num_classes=3, sparse_y_pred=False),
    "IoU": dict(num_classes=3, target_class_ids=[0, 2], sparse_y_pred=False),
    "OneHotIoU": dict(num_classes=3, target_class_ids=[0, 2]),
    "OneHotMeanIoU": dict(num_classes=3),
    "MeanRelativeError": dict(normalizer=[1.0, 2.0, 3.0]),
    "PrecisionAtRecall": dict(recall=0.5),
    "RecallAtPrecision": dict(precision=0.5),
    "SensitivityAtSpecificity": dict(specificity=0.5),
    "SpecificityAtSensitivity": dict(sensitivity=0.5),
}
BASES = {"Metric", "Mean", "MeanMetricWrapper", "Sum"}  # take no (y, prediction)
NAMES = [
    name
    for name, kind in vars(keras.metrics).items()
    if inspect.isclass(kind) and issubclass(kind, keras.metrics.Metric) and name not in BASES
]


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions as a metric takes them."""
    if name.startswith("Sparse") or name in ("MeanIoU", "IoU"):
        return LABELS
    if name.startswith("Binary") or "At" in name:
        return BINARY
    return ONE_HOT, CHANCES


def total(metrics, parts, mask=None):
    """What measures say after these parts, added up as replicas and steps are."""
    measures = Measures(metrics, ["loss"])
    for y, prediction in parts:
        values = tf.ones(len(y))
        loss = PerExample(values=values, mask=None if mask is None else mask[: len(y)])
        outcome = Outcome(losses={"loss": loss}, y=y, prediction=prediction)
        sums = measures.sums(outcome, [tf.reduce_sum(values)], [tf.constant(float(len(y)))])
        assert sums.shape == (measures.size,)
        measures.add(sums.numpy())
    return measures.results()


@pytest.mark.parametrize("name", NAMES)
def test_every_keras_metric_adds_up(name):
    """Over parts of unequal size as over all at once, and the metric itself is left alone."""
    make, (y, prediction) = getattr(keras.metrics, name), data(name)
    arguments = ARGUMENTS.get(name, {})
    whole = make(**arguments)
    whole.update_state(y, prediction)
    metric = make(**arguments)
    cuts = [0, 7, 8, 31, 40]
    results = total([metric], [(y[a:b], prediction[a:b]) for a, b in itertools.pairwise(cuts)])
    wanted = np.asarray(whole.result(), np.float64)
    np.testing.assert_allclose(np.asarray(results[metric.name]), wanted, rtol=1e-5, atol=1e-6)
    assert not any(np.any(v.numpy()) for v in metric.variables)


def test_a_mask_holds_for_metrics_too():
    y, prediction = np.array([0, 1, 2]), np.eye(3, dtype=np.float32)[[0, 1, 0]]
    results = total(
        [keras.metrics.SparseCategoricalAccuracy()],
        [(y, prediction)],
        tf.constant([True, False, True]),
    )
    assert results["sparse_categorical_accuracy"] == 0.5


def test_losses_are_divided_once_and_named_as_in_keras():
    measures = Measures([], ["generator", "judge"])
    measures.add(np.array([6.0, 10.0, 3.0, 4.0]))
    measures.add(np.array([0.0, 2.0, 1.0, 0.0]))
    assert measures.results() == {"loss": 1.5, "judge": 3.0}


def test_totals_go_on_from_a_checkpoint():
    measures = Measures([], ["loss"])
    assert math.isnan(measures.results()["loss"])  # nothing was seen yet
    measures.add(np.array([3.0, 2.0]))
    kept = measures.totals
    measures.reset()
    assert measures.totals.tolist() == [0.0, 0.0]
    measures.reset(kept)
    measures.add(np.array([3.0, 1.0]))
    assert measures.results() == {"loss": 2.0}
    assert kept.tolist() == [3.0, 2.0] and measures.totals.dtype == np.float64


def test_sums_beyond_float32_are_exact():
    """2 ** 24 + 1 is no float32: the host adds in float64."""
    measures = Measures([], ["loss"])
    for _ in range(3):
        measures.add(np.float32([2**24, 2**24]))
        measures.add(np.float32([1, 1]))
    assert measures.totals.tolist() == [3 * 2**24 + 3] * 2


def test_a_metric_that_does_not_begin_at_zero_is_refused():
    class Smallest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="smallest")
            self.value = self.add_weight(initializer=keras.initializers.Constant(9.0))

        def reset_state(self):
            self.value.assign(9.0)

    with pytest.raises(BadInput, match="smallest does not begin at zero"):
        Measures([Smallest()], ["loss"])
