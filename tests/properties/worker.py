"""What the property tests have done elsewhere: in a process with one strategy for its life.

Each function takes flags by their names, drives the project's own code and returns plain numbers
and arrays.
"""

from __future__ import annotations

import gc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer import errors, fit, loop, runtime
from trainer.assembly import Parts, assemble
from trainer.callbacks.averages import EvaluateAverages
from trainer.config import configure
from trainer.meters import Meters
from trainer.state import decorrelate

gc.freeze()  # each run begins with a collection, which need not go through TensorFlow's objects

DEFAULTS = {
    "task": "tests.properties.tasks",
    "device": "cpu",
    "global_batch_size": 8,
    "learning_rate": 0.01,
    "epochs": 2,
    "steps_per_loop": 7,
    "validation_split": "none",
}


def _prefetch(dataset: tf.data.Dataset, *args: Any, **kwargs: Any) -> tf.data.Dataset:
    """`Dataset.prefetch`, also as TensorFlow's distributed iterators use it, without tuning.

    Whoever drops an iterator waits until the thread that tunes it looks up: in half of all cases
    for 1 to 60 seconds (`RootDataset::Iterator::~Iterator` waits for `Model::OptimizeLoop`).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return PREFETCH(dataset, *args, **kwargs).with_options(options)


PREFETCH = tf.data.Dataset.prefetch
tf.data.Dataset.prefetch = _prefetch


def trained(replicas: int, **flags: Any) -> dict[str, Any]:
    """A whole run of either loop."""
    parts = _parts(replicas, flags)
    start = _state(parts)["weights"]
    meters, history = Meters(), keras.callbacks.History()
    callbacks: list[keras.callbacks.Callback] = [history]
    if parts.config.optimizer.ema_momentum:
        callbacks.append(EvaluateAverages(parts.state.optimizers.values()))
    if parts.config.run.loop == "fit":
        fit.train(parts, callbacks, meters)
    else:
        loop.train(parts, callbacks, meters, parts.config.step.jit_compile)
    return {
        "start": start,
        "history": dict(history.history),
        "gradient_norm": meters.grad_norm,
        "trainable": [f"model/{v.path}" for v in parts.state.model.trainable_variables],
        "data": {"train": parts.data.train, "test": parts.data.validation},
        **_state(parts),
    }


def stepped(replicas: int, **flags: Any) -> dict[str, Any]:
    """Calls of the tape loop one after the other, with all the state before and after each."""
    parts = _parts(replicas, flags)
    call = loop.TrainCall(parts, Meters(), parts.config.step.jit_compile)
    states, halted = [_state(parts)], ""
    while not halted and parts.state.step < parts.schedule.train_steps:
        try:
            call(parts.schedule.to_boundary(parts.state.step))
        except errors.Halted as stop:
            halted = str(stop)
        states.append(_state(parts))
    return {"states": states, "halted": halted}


def refused_by_fit(replicas: int, **flags: Any) -> None:
    """What `fit` says before it begins."""
    fit.refuse_what_fit_cannot(_parts(replicas, flags | {"loop": "fit"}))


def dropped(replicas: int, **flags: Any) -> list[np.ndarray]:
    """What each replica's dropout makes of ones, twice: `[2, 64]`."""
    parts = _parts(replicas, flags)
    (dropout,) = (x for x in parts.state.layers if isinstance(x, keras.layers.Dropout))

    def masks() -> tf.Tensor:
        return tf.stack([dropout(tf.ones(64), training=True) for _ in range(2)])

    made = tf.function(lambda: parts.strategy.run(masks))()
    return [np.asarray(m) for m in parts.strategy.experimental_local_results(made)]


def two_tapes(replicas: int, **flags: Any) -> list[np.ndarray]:
    """The game's weights after a run by hand: no strategy, one batch after the other."""
    parts = _parts(replicas, flags)
    model = parts.task.model(parts.data.info)  # outside the strategy's scope
    model.set_weights(parts.state.model.get_weights())
    player, judge = model.layers[1:]
    optimizers = [keras.optimizers.Adam(parts.config.optimizer.learning_rate) for _ in "pj"]
    x, size = parts.data.train["x"], parts.config.loop.global_batch_size
    for begin in list(range(0, len(x), size)) * parts.epochs:
        real = x[begin : begin + size]
        with tf.GradientTape() as first, tf.GradientTape() as second:
            made, seen = judge(player(real[:, ::-1])), judge(real)
            fooled = tf.reduce_mean(tf.nn.softplus(-made))
            told = tf.reduce_mean(tf.nn.softplus(made) + tf.nn.softplus(-seen))
        gradients = (
            first.gradient(fooled, player.trainable_variables),
            second.gradient(told, judge.trainable_variables),
        )
        for net, optimizer, own in zip((player, judge), optimizers, gradients, strict=True):
            optimizer.apply(own, net.trainable_variables)
    return [v.numpy() for v in model.trainable_variables]


def _parts(replicas: int, flags: dict[str, Any]) -> Parts:
    """As `--mode=train` puts them together."""
    config = configure(**DEFAULTS | {"num_logical_devices": replicas} | flags)
    parts = assemble(config, runtime.set_up(config))
    fit.compile_model(parts)
    if not config.step.keras_semantics:
        decorrelate(parts.state, parts.strategy)
    return parts


def _state(parts: Parts) -> dict[str, Any]:
    """All that a step may change.

    `weights` has each variable as the first replica holds it, and the copies of other replicas
    that differ; `unlike` names those.
    """
    weights, unlike = {}, []
    for name, variable in parts.state.variables().items():
        copies = [c.numpy() for c in parts.strategy.experimental_local_results(variable)]
        weights[name] = copies[0]
        if name.endswith("seed_generator_state"):
            continue  # apart on purpose
        others = {f"{name} on replica {i}": c for i, c in enumerate(copies)}
        others = {n: c for n, c in others.items() if c.tobytes() != copies[0].tobytes()}
        unlike += others
        weights |= others
    numbers = {n: getattr(parts.state, n) for n in ("step", "skipped", "loss_scale", "good_steps")}
    totals = parts.measures.totals.copy()
    return {"weights": weights, "unlike": unlike, "totals": totals, **numbers}
