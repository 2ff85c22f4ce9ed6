"""Which examples a step sees: each once a pass, on any number of replicas, from any start."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.pipeline import BLOCK_BYTES, distribute
from trainer.data.plan import IndexPlan, Schedule, cut
from trainer.data.readers import MemoryReader
from trainer.source import Source

quickly = settings(max_examples=30, deadline=None)
sizes = st.integers(1, 40)


def place(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


@st.composite
def plans(draw: st.DrawFn) -> IndexPlan:
    examples = draw(sizes)
    return IndexPlan(
        num_examples=examples,
        global_batch_size=draw(st.integers(1, examples)),
        seed=draw(st.integers(0, 2**31 - 1)),
        shuffle=draw(st.booleans()),
        drop_remainder=draw(st.booleans()),
    )


def batch(plan: IndexPlan, step: int, replicas: int) -> list[tuple[np.ndarray, float]]:
    """Each replica's rows of a step, and what they count."""
    shares = [plan.rows(place(step), place(1), place(r), replicas) for r in range(replicas)]
    return [(share.rows.numpy(), float(share.weight)) for share in shares]


@quickly
@given(plan=plans(), replicas=st.integers(1, 9), data_pass=st.integers(0, 3))
def test_every_pass_visits_each_example_once(plan, replicas, data_pass):
    counted = np.zeros(plan.num_examples)
    first = data_pass * plan.steps_per_pass
    for step in range(first, first + plan.steps_per_pass):
        for rows, weight in batch(plan, step, replicas):
            assert len(rows)  # no replica is ever empty
            np.add.at(counted, rows, weight)
    left_out = plan.num_examples - plan.full_steps * plan.global_batch_size
    once = plan.num_examples - left_out * plan.drop_remainder
    assert np.isclose(counted, 1).sum() == once
    assert np.isclose(counted, 0).sum() == plan.num_examples - once
    assert plan.examples(first, first + plan.steps_per_pass) == once


@quickly
@given(plan=plans(), replicas=st.integers(1, 9), step=st.integers(0, 100))
def test_a_batch_is_the_same_on_any_number_of_replicas(plan, replicas, step):
    (whole, _), parts = *batch(plan, step, 1), batch(plan, step, replicas)
    if len(whole) >= replicas:
        assert np.concatenate([rows for rows, _ in parts]).tolist() == whole.tolist()
        assert {weight for _, weight in parts} == {1.0}
        lengths = [len(rows) for rows, _ in parts]
        assert max(lengths) - min(lengths) <= 1
    else:
        for rows, weight in parts:
            assert rows.tolist() == whole.tolist()
            assert weight == pytest.approx(1 / replicas)


@quickly
@given(plan=plans(), steps=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_examples_are_counted_as_they_come(plan, steps):
    first, last = sorted(steps)
    seen = sum(len(rows) for step in range(first, last) for rows, _ in batch(plan, step, 1))
    assert plan.examples(first, last) == seen


def test_each_pass_and_seed_has_an_order_of_its_own():
    def order(seed: int, data_pass: int, shuffle: bool = True) -> tuple[int, ...]:
        plan = IndexPlan(num_examples=50, global_batch_size=50, seed=seed, shuffle=shuffle)
        return tuple(batch(plan, data_pass, 1)[0][0])

    orders = {order(seed, data_pass) for seed in (0, 1) for data_pass in (0, 1, 2)}
    assert len(orders) == 6
    assert order(0, 0, False) == order(1, 2, False) == tuple(range(50))


@given(size=sizes, parts=st.integers(1, 12))
def test_cut_leaves_no_part_empty_and_counts_each_example_once(size, parts):
    pieces = [cut(np.int64(size), part, parts) for part in range(parts)]
    counted = np.zeros(size)
    for start, stop, weight in pieces:
        assert start < stop
        counted[int(start) : int(stop)] += float(weight)
    np.testing.assert_allclose(counted, 1.0, rtol=1e-6)


@quickly
@given(
    seed=st.integers(0, 2**31 - 1), data_pass=st.integers(0, 1000), order=st.permutations(range(9))
)
def test_draws_belong_to_the_example(seed, data_pass, order):
    plan = IndexPlan(num_examples=9, global_batch_size=3, seed=seed)
    draws = plan.draws(place(data_pass), place(0) + tf.range(9, dtype=tf.int64), 3).numpy()
    assert draws.min() >= 0.0 and draws.max() < 1.0
    other = plan.draws(place(data_pass), tf.constant(order, tf.int64), 3).numpy()
    assert other.tolist() == draws[list(order)].tolist()
    assert (
        plan.draws(place(data_pass + 1), place(0)[None], 3).numpy()[0].tolist() != draws[0].tolist()
    )


def unrelated(columns: np.ndarray) -> bool:
    """Whether no two columns correlate by more than five deviations of chance."""
    pairs = np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]
    return bool(np.abs(pairs).max() < 5 / np.sqrt(len(columns)))


def test_draws_are_uniform_and_unrelated():
    """Between columns, passes and seeds; the cipher that TensorFlow offers as it is gives 0.5."""
    rows = tf.range(20000, dtype=tf.int64)
    plans = [IndexPlan(num_examples=20000, global_batch_size=1, seed=seed) for seed in (0, 1)]
    drawn = [plan.draws(place(data_pass), rows, 3) for plan in plans for data_pass in (0, 1)]
    columns = np.concatenate(drawn, axis=1)
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in columns.T])
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)  # five deviations of each bin
    assert unrelated(columns)


@pytest.mark.parametrize("examples", [1000, 60000])
def test_orders_are_unrelated(examples):
    """To the order on disk, to other passes and seeds, and each place to the next ones: 0.9 and
    0.3 with that cipher as it is."""
    orders = [np.arange(examples)]
    for seed, data_pass in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0)):
        plan = IndexPlan(num_examples=examples, global_batch_size=examples, seed=seed)
        orders.append(batch(plan, data_pass, 1)[0][0])
    assert unrelated(np.stack(orders, axis=1))
    for order in orders[1:]:
        lagged = [order[lag : lag + examples - 8] for lag in range(9)]
        assert unrelated(np.stack(lagged, axis=1))


def stream(
    plan: IndexPlan, schedule: Schedule, first_step: int, count: int, single: bool = False
) -> list[tuple[int, int, list[int]]]:
    """(element, step in it, rows) of `count` steps, as the loops see them, on one replica."""
    source = Source(features=("x",), batch=lambda features: (features["x"],))
    reader = MemoryReader({"x": np.arange(plan.num_examples)}, source, True, 2**20)
    one = tf.distribute.get_strategy()
    data = distribute(one, reader, plan, schedule, first_step=first_step, single=single)
    seen: list[tuple[int, int, list[int]]] = []
    for number, element in enumerate(data):
        rows = [element[0]] if single else element[1][0]
        seen += [(number, i, x.numpy().tolist()) for i, x in enumerate(rows)]
        if len(seen) >= count:
            return seen
    raise AssertionError("the data ended")


@settings(max_examples=15, deadline=None)
@given(
    plan=plans(),
    per_epoch=st.integers(1, 12),
    per_loop=st.integers(1, 12),
    first=st.integers(0, 30),
    single=st.booleans(),
)
def test_the_input_goes_on_from_any_step(plan, per_epoch, per_loop, first, single):
    """And no element reaches over the end of a call, an epoch, a pass or the run."""
    schedule = Schedule(
        steps_per_epoch=per_epoch, steps_per_loop=min(per_loop, per_epoch), train_steps=first + 17
    )
    steps = stream(plan, schedule, first, 20, single)
    for step, (_, _, rows) in enumerate(steps, start=first):
        assert rows == batch(plan, step, 1)[0][0].tolist()
    starts = {step for step, (_, i, _) in enumerate(steps, start=first) if i == 0}
    ends, step = set(), first
    while step < first + 17:
        step += schedule.to_boundary(step)
        ends.add(step)
    assert first + 17 in ends  # the run's end is the end of a call
    passes = {s for s in range(first + 1, first + 20) if s % plan.steps_per_pass == 0}
    assert (ends | passes) & set(range(first, first + len(steps))) <= starts


@given(
    step=st.integers(0, 200), per_epoch=st.integers(1, 30), per_loop=st.integers(1, 40),
    train_steps=st.integers(1, 150),
)  # fmt: skip
def test_calls_end_where_callbacks_are_due(step, per_epoch, per_loop, train_steps):
    per_loop = min(per_loop, per_epoch)
    schedule = Schedule(steps_per_epoch=per_epoch, steps_per_loop=per_loop, train_steps=train_steps)
    steps = schedule.to_boundary(step)
    assert 1 <= steps <= per_loop
    assert (step + steps - 1) // per_epoch == step // per_epoch
    assert step >= train_steps or step + steps <= train_steps
    assert int(schedule.to_boundary(place(step))) == steps  # and on the device likewise


def test_elements_are_bounded_in_bytes():
    """As many steps as fit, at least one, whatever the length of a call."""

    def steps(shape: tuple[int, ...]) -> int:
        source = Source(features=("x",), batch=lambda features: (features["x"],))
        reader = MemoryReader({"x": np.zeros((40, *shape), np.float32)}, source, True, 2**40)
        plan = IndexPlan(num_examples=40, global_batch_size=4)
        schedule = Schedule(steps_per_epoch=10, steps_per_loop=10, train_steps=10)
        data = distribute(tf.distribute.get_strategy(), reader, plan, schedule, first_step=0)
        return len(next(iter(data))[0])

    third = BLOCK_BYTES // 4 // 4 // 3  # floats of an example, of which three batches fit
    assert [steps((8,)), steps((third,)), steps((4 * third,))] == [10, 3, 1]


def test_augmentation_follows_the_example_and_the_pass():
    """Not the batch, nor the place in it: input is made on the fly then, and never kept."""
    source = Source(
        features=("x",),
        batch=lambda features: (features["x"],),
        augment=lambda features, draws: {"x": tf.cast(features["x"], tf.float32) + draws[:, 0]},
        num_draws=1,
    )
    reader = MemoryReader({"x": np.arange(10)}, source, True, 2**20)

    def seen(global_batch_size: int, data_pass: int) -> dict[int, float]:
        plan = IndexPlan(num_examples=10, global_batch_size=global_batch_size, seed=3)
        first = plan.steps_per_pass * data_pass
        steps = range(first, first + plan.steps_per_pass)
        shares = [plan.rows(place(step), place(1), place(0), 1) for step in steps]
        values = np.concatenate([reader.read(plan, share)[0].numpy() for share in shares])
        return {int(value): float(value) for value in values}

    assert seen(3, 0) == seen(10, 0)
    assert seen(3, 0).keys() == seen(3, 1).keys() == set(range(10))
    assert not set(seen(3, 0).values()) & set(seen(3, 1).values())
    plain = MemoryReader({"x": np.arange(10)}, source, False, 2**20)
    assert plain.augment is None and plain.made is not None
    assert MemoryReader({"x": np.arange(10)}, source, False, 10).made is None  # over the budget
