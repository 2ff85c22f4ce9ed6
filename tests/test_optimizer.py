"""Optimizers and schedules by name, and the private seam of Keras that the step rests on."""

from __future__ import annotations

import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import OPTIMIZERS, Optimizer, configure
from trainer.errors import BadInput
from trainer.optimizer import CLASSES, WarmUp, learning_rate, make_optimizer
from trainer.step import mark_reduced

REFUSED = {"ScheduleFreeAdamW"}  # see `trainer.config`
NOT_OPTIMIZERS = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}


def test_every_optimizer_of_keras_has_a_name_or_is_refused():
    public = {name for name, thing in vars(keras.optimizers).items() if inspect.isclass(thing)}
    assert {kind.__name__ for kind in CLASSES.values()} == public - REFUSED - NOT_OPTIMIZERS
    assert tuple(sorted(CLASSES)) == tuple(sorted(OPTIMIZERS))
    for name, kind in CLASSES.items():
        assert name == "momentum" or name == kind.__name__.lower()


def moved(gradient: float, **flags) -> dict[str, np.ndarray]:
    """How far one update takes variables of ones: a kernel, a bias, an embedding."""
    shapes = {"kernel": (2, 3), "bias": (3,), "embedding": (4, 2)}
    variables = [keras.Variable(np.ones(s, np.float32), name=n) for n, s in shapes.items()]
    optimizer = make_optimizer(Optimizer(learning_rate=0.1, **flags), 10)
    optimizer.apply([tf.fill(v.shape, gradient) for v in variables], variables)
    return {v.name: v.numpy() - 1 for v in variables}


# FTRL computes a weight from its sums of gradients alone: without one it is 0
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "ftrl"])
def test_weight_decay_is_what_the_flag_says(name):
    """Without a gradient only decay moves a weight; AdamW and Muon decay by default in Keras."""
    for change in moved(0.0, optimizer=name).values():
        assert not change.any()
    decayed = moved(0.0, optimizer=name, weight_decay=0.5, weight_decay_exclude=("bias",))
    for variable, change in decayed.items():
        np.testing.assert_allclose(change, 0.0 if variable == "bias" else -0.05, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_goes_down_the_gradient(name):
    for change in moved(1.0, optimizer=name).values():
        assert (change < 0).all()


def test_arguments_reach_the_optimizer():
    flags = Optimizer(
        optimizer="adam",
        optimizer_args=("beta_2=0.95", "amsgrad=true", "name=mine"),
        ema_momentum=0.5,
    )
    made = make_optimizer(flags, 10)
    assert (made.beta_2, made.amsgrad, made.name) == (0.95, True, "mine")
    assert (made.use_ema, made.ema_momentum, made.ema_overwrite_frequency) == (True, 0.5, None)
    assert make_optimizer(Optimizer(optimizer="momentum"), 10).momentum == 0.9
    other = Optimizer(optimizer="momentum", optimizer_args=("momentum=0.8", "nesterov=true"))
    assert make_optimizer(other, 10).momentum == 0.8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (dict(optimizer="adamm"), "did you mean adam"),
        (dict(optimizer="schedulefreeadamw"), "is not one of sgd"),
        (dict(optimizer_args=("beta_2",)), "not of the form name=value"),
        (dict(optimizer_args=("clipnorm=1",)), "use --clip_norm"),
        (dict(optimizer_args=("gradient_accumulation_steps=2",)), "use --accumulation_steps"),
        (dict(optimizer_args=("ema_overwrite_frequency=2",)), "fails inside a tf.function"),
        (dict(schedule="piecewise"), "give both"),
        (dict(schedule_boundaries=(3,)), "give both"),
        (dict(schedule="piecewise", schedule_boundaries=(5, 3)), "must rise"),
        (dict(learning_rate=math.inf), "not a finite number"),
        (dict(learning_rate=-1.0), "at least 0"),
        (dict(reduce_lr_patience=1, warmup_steps=3), "use one or the other"),
    ],
)
def test_what_does_not_fit_is_refused_before_tensorflow(flags, message):
    with pytest.raises(BadInput, match=message):
        configure(**flags)


def test_what_keras_refuses_is_named():
    with pytest.raises(BadInput, match="--optimizer_args=beta_3=1: keras"):
        make_optimizer(Optimizer(optimizer_args=("beta_3=1",)), 10)
    with pytest.raises(BadInput, match="--warmup_steps=10 is not less than the 10 steps"):
        make_optimizer(Optimizer(schedule="cosine", warmup_steps=10), 10)


HALF = 0.5 * (1 + math.cos(math.pi / 4))  # of a cosine, a quarter of its way


@pytest.mark.parametrize(
    ("flags", "rates"),
    [
        (dict(), {0: 8, 5: 8, 1000: 8}),
        (dict(warmup_steps=4), {0: 0, 1: 2, 3: 6, 4: 8, 5: 8, 1000: 8}),
        (dict(schedule="cosine"), {0: 8, 5: 8 * HALF, 10: 4, 20: 0, 30: 0}),
        (
            dict(schedule="cosine", final_learning_rate=2.0),
            {0: 8, 5: 2 + 6 * HALF, 10: 5, 20: 2, 30: 2},
        ),
        (
            dict(schedule="cosine", warmup_steps=4, final_learning_rate=2.0),
            {0: 0, 2: 4, 4: 8, 8: 2 + 6 * HALF, 12: 5, 20: 2, 30: 2},
        ),
        (dict(schedule="cosine", learning_rate=0.0), {0: 0, 10: 0}),
        # Keras's falls after the update of that number
        (dict(schedule="piecewise", schedule_boundaries=(5, 10)), {0: 8, 5: 8, 6: 0.8, 11: 0.08}),
        (
            dict(
                schedule="piecewise", schedule_boundaries=(5,), schedule_factor=0.5, warmup_steps=8
            ),
            {0: 0, 4: 4, 6: 3, 8: 4, 30: 4},
        ),
    ],
)
def test_schedules(flags, rates):
    rate = learning_rate(Optimizer(**dict(learning_rate=8.0) | flags), 20)
    for step, wanted in rates.items():
        found = rate if isinstance(rate, float) else float(rate(step))
        assert found == pytest.approx(wanted, abs=1e-5), step


@pytest.mark.parametrize(
    "flags",
    [
        dict(schedule="cosine", warmup_steps=3),
        dict(schedule="piecewise", schedule_boundaries=(5,), warmup_steps=3),
    ],
)
def test_a_saved_schedule_loads(flags):
    rate = learning_rate(Optimizer(**flags), 20)
    schedules = keras.optimizers.schedules
    again = schedules.deserialize(schedules.serialize(rate))
    assert isinstance(again, type(rate))
    assert isinstance(rate, WarmUp) == (flags["schedule"] == "piecewise")
    assert [float(again(step)) for step in range(20)] == [float(rate(step)) for step in range(20)]


def test_the_seam_is_there_and_its_loss_is_loud():
    """Private to Keras: without it `apply` would sum over the replicas a second time."""
    optimizer = keras.optimizers.SGD()
    assert inspect.getsource(optimizer._backend_update_step).count("_all_reduce_sum_gradients") == 1
    mark_reduced(optimizer)
    pairs = [(tf.constant(1.0), object())]
    assert optimizer._all_reduce_sum_gradients(pairs) is pairs
    assert type(optimizer) is keras.optimizers.SGD  # so that a saved model loads anywhere

    class Other:
        pass

    with pytest.raises(RuntimeError, match="has no _all_reduce_sum_gradients any more"):
        mark_reduced(Other())
