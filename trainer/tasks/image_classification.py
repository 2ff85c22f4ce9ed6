"""Image classification over any TFDS dataset with `image` and `label`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from trainer import options, task
from trainer.errors import BadInput
from trainer.options import option
from trainer.source import DataInfo, Features, Source

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Image classification"""

    dataset: str = option(
        "digits",
        "a TFDS name with image and label (digits comes along with scikit-learn), or a folder with "
        "train/CLASS/*.png or *.jpg and test/CLASS/...: ./flowers",
    )
    model: str = option("convnet", "the network", choices=("dense", "convnet"))
    width: int = option(
        0, "hidden units of dense, first filters of convnet; 0: 128 and 32", minimum=0
    )
    dropout: float = option(0.0, "rate before the last layer", minimum=0.0, maximum=0.99)
    l2: float = option(0.0, "factor of the squared kernels in the loss", minimum=0.0)
    batch_norm: bool = option(False, "BatchNormalization after each layer")
    shift: int = option(0, "augmentation: move images by up to so many pixels", minimum=0)
    flip: bool = option(False, "augmentation: mirror every other image, left to right")
    class_weights: tuple[float, ...] = option(
        (), "weight of each class in the loss, one a class", items=float, minimum=0.0
    )


class Task(task.Task):
    """Images, uint8 or float, `[height, width, channels]`, and one label each, to logits."""

    options: Options

    def source(self) -> Source:
        """Pixels in [0, 1]; shifted and mirrored in training where asked for."""
        o = self.options
        return Source(
            dataset=o.dataset,
            features=("image", "label"),
            batch=self._batch,
            check=self._check,
            augment=self._augment if o.shift or o.flip else None,
            num_draws=3,
        )

    def model(self, info: DataInfo) -> keras.Model:
        """The network that `--model` names."""
        from trainer.models import classifiers

        o = self.options
        networks = {"dense": (classifiers.dense, 128), "convnet": (classifiers.convnet, 32)}
        network, width = networks[o.model]
        shape = info.shapes["image"]
        if len(shape) != 3:
            raise BadInput(f"--dataset={o.dataset}: an image has the shape {shape}, not (h, w, c).")
        return network(
            shape,
            info.num_classes["label"],
            width=o.width or width,
            dropout=o.dropout,
            l2=o.l2,
            batch_norm=o.batch_norm,
        )

    def loss(self) -> keras.losses.Loss:
        """Cross-entropy of the logits."""
        import keras

        return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)

    def metrics(self) -> list[keras.metrics.Metric]:
        """How often the largest logit is the label's."""
        import keras

        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def read_input(self, path: str, info: DataInfo) -> tuple[Features, Features]:
        """PNG and JPEG files of the size that the model takes; grey becomes RGB, and back."""
        from trainer.data.pictures import read_pictures

        files, images = read_pictures(path, info.shapes["image"])
        return {"file": files}, {"image": images, "label": [0] * len(files)}

    def describe(self, prediction: Any, info: DataInfo) -> Features:
        """The most probable class, by name where it has one, and its probability."""
        import numpy as np

        odds = np.exp(prediction - prediction.max(axis=-1, keepdims=True))
        best = prediction.argmax(axis=-1)
        names = info.class_names.get("label")
        return {
            "label": [names[i] for i in best] if names else best,
            "probability": odds.max(axis=-1) / odds.sum(axis=-1),
        }

    def _batch(self, features: Features) -> tuple[Any, ...]:
        import tensorflow as tf

        images, labels = features["image"], features["label"]
        scale = 1 / 255 if images.dtype == tf.uint8 else 1.0
        x = tf.cast(images, tf.float32) * scale
        if not self.options.class_weights:
            return x, labels
        return x, labels, tf.gather(tf.constant(self.options.class_weights), labels)

    def _check(self, arrays: Features, split: str, info: DataInfo) -> None:
        from trainer.data.arrays import check_labels

        num_classes = info.num_classes.get("label")
        if num_classes is None:
            raise BadInput(f"--dataset={self.options.dataset}: its label is no class label.")
        weights = self.options.class_weights
        if weights and len(weights) != num_classes:
            raise BadInput(
                f"--class_weights={','.join(map(str, weights))} has {len(weights)} weights for the "
                f"{num_classes} classes of {self.options.dataset}; give one weight a class."
            )
        check_labels(arrays["label"], num_classes, self.options.dataset, split)

    def _augment(self, features: Features, draws: Any) -> Features:
        """Moves and mirrors; what comes in at an edge is black."""
        import tensorflow as tf

        images, pad = features["image"], self.options.shift
        size = tf.shape(images)[1:3]
        if self.options.flip:
            mirrored = draws[:, 2, None, None, None] < 0.5
            images = tf.where(mirrored, tf.reverse(images, [2]), images)
        if pad:
            images = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
            offset = tf.cast(draws[:, :2] * (2 * pad + 1), tf.int32)
            rows = offset[:, :1] + tf.range(size[0])
            columns = offset[:, 1:] + tf.range(size[1])
            images = tf.gather(images, rows, axis=1, batch_dims=1)
            images = tf.gather(images, columns, axis=2, batch_dims=1)
        return {**features, "image": images}
