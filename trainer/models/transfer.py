"""Networks of `keras.applications`, from scratch or pretrained, and frozen layers."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from trainer.errors import BadInput

Shape = tuple[int, int, int]


def application(
    name: str, shape: Shape, num_classes: int, *, weights: str, dropout: float, l2: float
) -> keras.Model:
    """A network of `keras.applications` without its last layer, and one for these classes.

    It takes images in [0, 1] and begins with that network's own preprocessing.

    Args:
        name: Such as resnet50 or mobilenet_v3_small.
        shape: Height, width and channels of the images.
        num_classes: Logits.
        weights: `imagenet`, `none`, or a file that `save_weights` of the backbone wrote.
        dropout: Rate before the last layer.
        l2: Factor of the squared kernels in `model.losses`.

    Raises:
        BadInput: The images are none for it, or the weights are not there or of another network.
    """
    if shape[-1] != 3:
        raise BadInput(
            f"--model={name} takes images of 3 channels and these have {shape[-1]}; take another "
            "dataset, or --model=convnet."
        )
    network, module = _found(name)
    images = keras.Input(shape, name="image")
    x = keras.layers.Rescaling(255.0, dtype="float32", name="pixels")(images)
    backbone = _backbone(network, name, shape, weights)
    x = backbone(module.preprocess_input(x))
    if l2:  # these networks take no regulariser, but Keras asks the variables
        for variable in backbone.trainable_variables:
            if variable.path.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(l2)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(
        num_classes,
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        dtype="float32",  # a softmax of half floats loses the small ones
        name="logits",
    )(x)
    return keras.Model(images, logits, name=name)


def _found(name: str) -> tuple[Any, types.ModuleType]:
    """The function behind a flag's value, and its module, which has `preprocess_input`."""
    public = vars(keras.applications)
    (function,) = (
        f for n, f in public.items() if n.lower() == name.replace("_", "") and callable(f)
    )
    return function, sys.modules[function.__module__]


def _backbone(network: Any, name: str, shape: Shape, weights: str) -> keras.Model:
    source = None if weights == "none" else weights
    if source and source != "imagenet" and not Path(source).is_file():
        raise BadInput(f"--weights={weights}: there is no such file; say imagenet or none.")
    try:
        return network(
            include_top=False, weights=source, input_shape=shape, pooling="avg", name="backbone"
        )
    except Exception as error:  # Keras raises a bare Exception where a download fails
        if not source and not isinstance(error, ValueError):
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"--model={name} with --weights={weights} and images of {shape[0]}x{shape[1]}: Keras "
            f"says {reason!r}; set --image_size, or give other --weights."
        ) from error


def freeze(model: keras.Model, parts: Sequence[str]) -> None:
    """Takes layers out of the training: no gradient, no slots, no decay; BatchNormalization infers.

    Args:
        model: Whose layers, at any depth.
        parts: Parts of the layers' names; a layer that is made of layers is frozen with them.

    Raises:
        BadInput: No layer's name has such a part, or nothing is left to train.
    """
    layers = list(model._flatten_layers(include_self=False))
    for part in parts:
        named = [layer for layer in layers if part in layer.name]
        if not named:
            raise BadInput(
                f"--freeze={part} is in no layer's name of {model.name}; they are "
                f"{', '.join(layer.name for layer in layers[:12])} and so on."
            )
        for layer in named:
            layer.trainable = False
    if not model.trainable_variables:
        raise BadInput(f"--freeze={','.join(parts)} leaves nothing to train; freeze less.")
