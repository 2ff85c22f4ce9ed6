"""Activations recomputed in the backward pass: less memory for more time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.errors import BadInput


def rematerialize(model: keras.Model) -> None:
    """Makes each block of a model keep its input alone, and run again in the backward pass.

    A block is a layer of the model that has layers of its own. It becomes a pure function of its
    input, its variables and its seeds, so that dropout draws the same mask both times and
    BatchNormalization's averages move once. (`keras.RematScope` fails on TensorFlow inside a
    `tf.function` as soon as a layer is given `training`.)

    Raises:
        BadInput: The model has no block.

    References:
        Chen, Xu, Zhang, Guestrin: Training deep nets with sublinear memory cost, 2016.
    """
    blocks = [layer for layer in model.layers if any(layer._flatten_layers(include_self=False))]
    if not blocks:
        raise BadInput(
            f"--remat: {model.name} has no layer that is made of layers, so nothing can be "
            "recomputed block by block; leave it out."
        )
    for block in blocks:
        block.call = _recomputed(block)


def _recomputed(block: keras.Layer) -> Any:
    original = block.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return original(inputs, training=training, mask=mask)
        variables = block.variables
        kept = [v for v in variables if not v.trainable]

        # recompute_grad reckons with all that it is given, so a mask of bools is not given
        given = tf.nest.flatten(inputs)
        floats = [tensor for tensor in given if tensor.dtype.is_floating]

        def pure(floats: list[tf.Tensor], *values: tf.Tensor) -> tuple[Any, ...]:
            rest = iter(floats)
            own = [next(rest) if tensor.dtype.is_floating else tensor for tensor in given]
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                own = tf.nest.pack_sequence_as(inputs, own)
                outputs = original(own, training=True, mask=mask)
                return outputs, *[scope.get_current_value(v) for v in kept]

        values = [tf.convert_to_tensor(v.value) for v in variables]
        outputs, *states = tf.recompute_grad(pure)(floats, *values)
        for variable, state in zip(kept, states, strict=True):
            variable.assign(state)
        return outputs

    return call
