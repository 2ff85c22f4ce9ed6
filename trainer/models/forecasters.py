"""Forecasters: windows `[b, look_back, channels]` to what follows, `[b, horizon, channels]`.

References:
    Zeng, Chen, Zhang, Xu: Are Transformers Effective for Time Series Forecasting? AAAI 2023.
    https://arxiv.org/abs/2205.13504 (NLinear and DLinear)
"""

from __future__ import annotations

import keras
from keras import ops


def nlinear(look_back: int, horizon: int, channels: int) -> keras.Model:
    """One linear layer over time, the same for all channels, on differences to the last value.

    Args:
        look_back: Steps of the past.
        horizon: Steps to forecast.
        channels: Series.
    """
    past = keras.Input((look_back, channels), name="past")
    last = past[:, -1:]
    # uniform within 1 / sqrt(look_back): PyTorch's way to begin, which the paper's code keeps
    begin = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    future = last + _over_time(past - last, horizon, begin, "linear")
    return keras.Model(past, future, name="nlinear")


def dlinear(look_back: int, horizon: int, channels: int, *, window: int = 25) -> keras.Model:
    """A linear layer over time for the moving average, and one for what it leaves.

    Args:
        look_back: Steps of the past.
        horizon: Steps to forecast.
        channels: Series.
        window: Steps of the moving average, odd; at the ends the outermost value is repeated.
    """
    past = keras.Input((look_back, channels), name="past")
    half = window // 2
    ends = ops.repeat(past[:, :1], half, axis=1), ops.repeat(past[:, -1:], half, axis=1)
    padded = ops.concatenate([ends[0], past, ends[1]], axis=1)
    trend = keras.layers.AveragePooling1D(window, strides=1, name="moving_average")(padded)
    # both begin as the mean of what they see, as in the paper's code
    mean = keras.initializers.Constant(1 / look_back)
    seasonal = _over_time(past - trend, horizon, mean, "seasonal")
    future = seasonal + _over_time(trend, horizon, mean, "trend")
    return keras.Model(past, future, name="dlinear")


def lstm(look_back: int, horizon: int, channels: int, *, units: int) -> keras.Model:
    """An LSTM reads differences to the last value; a linear layer unfolds its last state.

    Args:
        look_back: Steps of the past.
        horizon: Steps to forecast.
        channels: Series.
        units: Of the LSTM.
    """
    past = keras.Input((look_back, channels), name="past")
    last = past[:, -1:]
    state = keras.layers.LSTM(units, name="lstm")(past - last)
    steps = keras.layers.Dense(horizon * channels, dtype="float32", name="unfold")(state)
    future = last + keras.layers.Reshape((horizon, channels), name="future")(steps)
    return keras.Model(past, future, name="lstm")


def _over_time(
    x: keras.KerasTensor, horizon: int, begin: keras.Initializer, name: str
) -> keras.KerasTensor:
    """A linear layer along the time axis."""
    layer = keras.layers.Dense(horizon, kernel_initializer=begin, dtype="float32", name=name)
    return ops.transpose(layer(ops.transpose(x, (0, 2, 1))), (0, 2, 1))
