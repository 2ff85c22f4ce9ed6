"""Text of a language model's own, token by token, in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def generator(
    model: keras.Model, start: np.ndarray, number: int, temperature: float
) -> Callable[[int], np.ndarray]:
    """Makes a function that goes on from `start`.

    It is traced once, at its first call. Every token costs a pass over a whole block, of which the
    model sees the last one: what is not written yet stands behind, where causal attention does
    not look. Its randomness is a function of its seed and of the place alone.

    Args:
        model: Tokens int32 `[b, block_size]` to logits `[b, block_size, vocabulary]`.
        start: Tokens, integers `[s]`, at least one.
        number: Tokens to add.
        temperature: The logits are divided by it; 0 takes the likeliest token.

    Returns:
        From a seed to tokens, int32 `[s + number]`.
    """
    block = model.input_shape[1]
    end = len(start) + number
    text = np.zeros(max(end, block), np.int32)
    text[: len(start)] = start

    def add(place: tf.Tensor, text: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = tf.maximum(place - block, 0)
        logits = model(text[None, first : first + block], training=False)[:, place - first - 1]
        if temperature:
            seeds = tf.stack([seed, place])
            token = tf.random.stateless_categorical(logits / temperature, 1, seeds, tf.int32)[0]
        else:
            token = tf.argmax(logits, axis=1, output_type=tf.int32)
        return place + 1, tf.tensor_scatter_nd_update(text, [[place]], token)

    @tf.function(autograph=False)
    def generate(seed: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(
            lambda place, text: place < end,
            lambda place, text: add(place, text, seed),
            (tf.constant(len(start)), tf.constant(text)),
        )[1][:end]

    return lambda seed: generate(tf.constant(seed)).numpy()
