"""Sums that are the same however the batch was cut."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.reduction import all_reduce, clip_factor, dense, objective_sums, weighted_sum
from trainer.task import Outcome, PerExample

VALUES = np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)  # [b, t], their sum is 21
WEIGHTS = np.float32([[1, 2, 3], [4, 5, 6]])
MASK = np.array([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("weights", "mask", "weighted_mean", "total", "number"),
    [
        (None, None, False, 21, 6),
        (None, None, True, 21, 6),
        (WEIGHTS, None, False, 91, 6),  # Keras counts elements, with weights too
        (WEIGHTS, None, True, 91, 21),
        (None, MASK, False, 7, 3),  # and the valid ones under a mask
        (WEIGHTS, MASK, False, 21, 3),
        (WEIGHTS, MASK, True, 21, 7),
        (np.float32([2, 3]), None, False, 57, 6),  # [b] beside [b, t]
        (np.float32([2, 3]), None, True, 57, 15),
        (np.float32([[2], [3]]), None, True, 57, 15),  # [b, 1] likewise
        (None, np.array([True, False]), False, 6, 3),
        (None, np.zeros((2, 3), bool), False, 0, 0),
    ],
)
def test_weighted_sum(weights, mask, weighted_mean, total, number):
    loss = PerExample(values=tf.constant(VALUES), weights=weights, mask=mask)
    found = weighted_sum(loss, weighted_mean)
    assert [float(x) for x in found] == [total, number]
    assert all(x.dtype == tf.float32 and x.shape == () for x in found)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_masked_element_may_be_anything(bad):
    values = tf.constant([1.0, bad])
    with tf.GradientTape() as tape:
        tape.watch(values)
        total, number = weighted_sum(
            PerExample(values=values, mask=tf.constant([True, False])), True
        )
    assert (float(total), float(number)) == (1.0, 1.0)
    assert tape.gradient(total, values).numpy().tolist() == [1.0, 0.0]


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(-9, 9), st.floats(0, 9), st.booleans()), min_size=2, max_size=12
    ),
    place=st.integers(1, 11),
    weighted_mean=st.booleans(),
)
def test_sums_of_parts_add_up(rows, place, weighted_mean):
    """Two parts, one perhaps empty, give together what the whole gives."""

    def sums(part):
        columns = [[row[i] for row in part] for i in range(3)]
        loss = PerExample(
            values=tf.constant(columns[0], tf.float32),
            weights=tf.constant(columns[1], tf.float32),
            mask=tf.constant(columns[2], tf.bool),
        )
        return np.array(weighted_sum(loss, weighted_mean), np.float64)

    np.testing.assert_allclose(
        sums(rows[:place]) + sums(rows[place:]), sums(rows), rtol=1e-5, atol=1e-4
    )


def test_penalties_count_once_for_each_element():
    losses = {
        name: PerExample(values=tf.constant([1.0, 2.0]) * k) for name, k in (("a", 1), ("b", 10))
    }
    outcome = Outcome(losses=losses, y=None, prediction=None)
    totals, numbers = objective_sums(
        outcome, ["b", "a"], [tf.constant(0.5), tf.constant(1.5)], False
    )
    assert [float(x) for x in totals] == [34.0, 7.0]
    assert [float(x) for x in numbers] == [2.0, 2.0]


# An embedding's gradient that names row 1 twice: [0, 0], [2, 2], [0, 0], [1, 1] twice over.
TWICE = tf.IndexedSlices(tf.ones([6, 2]), tf.constant([1, 1, 3, 3, 3, 3]), tf.constant([4, 2]))


def test_repeated_rows_are_added_up():
    """Their norm was 3.46 before, and is 6.32."""
    (whole,) = dense([TWICE])
    assert whole.numpy().tolist() == [[0, 0], [2, 2], [0, 0], [4, 4]]
    assert float(tf.linalg.global_norm([TWICE])) == pytest.approx(12**0.5)
    assert float(tf.linalg.global_norm([whole])) == pytest.approx(40**0.5)


def test_keras_squares_repeated_rows_one_by_one():
    """Why gradients are made dense: Adam would divide by too little, and go too far."""

    def moved(gradient):
        variable = keras.Variable(np.zeros((4, 2), np.float32))
        keras.optimizers.Adam(0.1).apply([gradient], [variable])
        return variable.numpy()[:, 0]

    np.testing.assert_allclose(moved(dense([TWICE])[0]), [0, -0.1, 0, -0.1], rtol=1e-5)
    np.testing.assert_allclose(moved(TWICE), [0, -0.1 * 2**0.5, 0, -0.2], rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "clip_norm", "factor"), [(5.0, 0.0, 1), (5.0, 1.0, 0.2), (0.5, 1.0, 1), (0.0, 1.0, 1)]
)
def test_clip_factor(norm, clip_norm, factor):
    assert float(clip_factor(tf.constant(norm), clip_norm)) == pytest.approx(factor)


def test_all_reduce_on_one_replica_is_the_identity():
    found = all_reduce([tf.constant([1.0, 2.0]), tf.constant(3.0)])
    assert [x.numpy().tolist() for x in found] == [[1.0, 2.0], 3.0]
