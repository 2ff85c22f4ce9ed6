"""Evaluation on averaged weights, and the raw ones back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.callbacks.averages import EvaluateAverages


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


# Values between which a swap by adding and subtracting loses bits.
widely = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=25)
@given(raw=st.lists(widely, min_size=11, max_size=11), mean=st.lists(widely, min_size=11))
def test_raw_weights_come_back_to_the_bit(
    model: keras.Model, raw: list[float], mean: list[float]
) -> None:
    averages = model.optimizer._model_variables_moving_average
    raws, means = iter(raw), iter(mean)
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        size = int(np.prod(variable.shape))
        for target, numbers in ((variable, raws), (average, means)):
            flat = [next(numbers) for _ in range(size)]
            target.assign(np.array(flat, np.float32).reshape(variable.shape))
    before = [v.numpy().tobytes() for v in model.trainable_variables]
    own = [v.numpy().tobytes() for v in averages]
    callback = EvaluateAverages([model.optimizer])
    callback.on_test_begin()
    assert [v.numpy().tobytes() for v in model.trainable_variables] == own
    callback.on_test_begin()  # a second evaluation in the same epoch
    assert [v.numpy().tobytes() for v in model.trainable_variables] == own
    callback.on_epoch_end(0)
    assert [v.numpy().tobytes() for v in model.trainable_variables] == before
    assert [v.numpy().tobytes() for v in averages] == own
    callback.put_back()
    assert [v.numpy().tobytes() for v in model.trainable_variables] == before


def test_early_stopping_keeps_the_weights_that_were_evaluated(told: Any) -> None:
    """What a run under --ema_momentum goes back to has the loss that it was chosen for."""
    for one in told("averaged_best").values():
        losses = one["history"]["val_loss"]
        assert len(losses) < 20
        assert one["measured"] == pytest.approx(min(losses), rel=1e-5)
