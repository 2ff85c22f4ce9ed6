"""Image classification over any TFDS dataset with `image` and `label`."""

# Over 250 lines: the flags of all networks and augmentations, and their refusals, are half of it.

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainer import options, task
from trainer.errors import BadInput
from trainer.options import option
from trainer.source import DataInfo, Features, Source

if TYPE_CHECKING:
    import keras

OWN = ("dense", "convnet", "resnet")
# A test holds this list against keras.applications.
APPLICATIONS = (
    "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "convnext_xlarge",
    "densenet121", "densenet169", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
    "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2", "efficientnet_v2_b3",
    "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s",
    "inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2",
    "mobilenet_v3_large", "mobilenet_v3_small", "nasnet_large", "nasnet_mobile",
    "resnet101", "resnet101_v2", "resnet152", "resnet152_v2", "resnet50", "resnet50_v2",
    "vgg16", "vgg19", "xception",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Image classification"""

    dataset: str = option(
        "digits",
        "a TFDS name with image and label (digits comes along with scikit-learn), or a folder with "
        "train/CLASS/*.png or *.jpg and test/CLASS/...: ./flowers",
    )
    model: str = option(
        "convnet",
        "the network: one of this project, or of keras.applications",
        choices=(*OWN, *APPLICATIONS),
    )
    width: int = option(
        0, "hidden units of dense, first filters of convnet and resnet; 0: 128, 32, 16", minimum=0
    )
    depth: int = option(20, "layers of resnet: 20, 32, 44, 56, 110 or another 6n+2", minimum=8)
    dropout: float = option(0.0, "rate before the last layer", minimum=0.0, maximum=0.99)
    l2: float = option(0.0, "factor of the squared kernels in the loss", minimum=0.0)
    batch_norm: bool = option(False, "BatchNormalization after each layer of dense and convnet")
    weights: str = option(
        "none", "where a network of keras.applications begins: imagenet, none, or a weights file"
    )
    freeze: tuple[str, ...] = option(
        (), "layers not to train, by a part of their name; backbone: all but the last layer"
    )
    image_size: int = option(
        0, "height and width that images are cut to; 0: as they are", minimum=0
    )
    pixel_mean: tuple[float, ...] = option(
        (), "subtracted from each channel of images in [0, 1]", items=float
    )
    pixel_std: tuple[float, ...] = option(
        (), "by which each channel is divided then", items=float, above=0.0
    )
    shift: int = option(0, "augmentation: move images by up to so many pixels", minimum=0)
    flip: bool = option(False, "augmentation: mirror every other image, left to right")
    random_resized_crop: bool = option(
        False, "augmentation: cut out 8 to 100% of the area, at an aspect of 3/4 to 4/3"
    )
    rand_augment: float = option(
        0.0,
        "augmentation: magnitude of RandAugment, 9 is usual; 0: none",
        minimum=0.0,
        maximum=10.0,
    )
    mixup: float = option(0.0, "augmentation: alpha of MixUp; 0: none", minimum=0.0)
    cutmix: float = option(0.0, "augmentation: alpha of CutMix; 0: none", minimum=0.0)
    label_smoothing: float = option(
        0.0, "share of a label spread over all classes", minimum=0.0, maximum=0.99
    )
    class_weights: tuple[float, ...] = option(
        (), "weight of each class in the loss, one a class", items=float, minimum=0.0
    )

    @property
    def soft_labels(self) -> bool:
        """Whether labels are distributions over the classes."""
        return bool(self.label_smoothing or self.mixup or self.cutmix)

    def __post_init__(self) -> None:
        super().__post_init__()
        own, named = self.model in OWN, f"with --model={self.model}"
        mean, std = (",".join(map(str, values)) for values in (self.pixel_mean, self.pixel_std))
        for wrong, why in (
            (self.model == "resnet" and (self.depth - 2) % 6,
             f"--depth={self.depth} is not of the form 6n+2; take 20, 32, 44, 56 or 110."),
            (self.batch_norm and self.model not in ("dense", "convnet"),
             f"--batch_norm {named}, whose layers are given; leave it out."),
            (self.width and not own,
             f"--width={self.width} {named}, whose layers are given; leave it out."),
            (self.weights != "none" and own,
             f"--weights={self.weights} {named}: that is for networks of keras.applications; begin "
             "from another run with --init_from."),
            (self.pixel_mean and not own,
             f"--pixel_mean={mean} {named}, which has a preprocessing of its own; leave it out."),
            (len(self.pixel_mean) != len(self.pixel_std),
             f"--pixel_mean={mean} with --pixel_std={std}: give both one number a channel."),
            (self.random_resized_crop and not self.image_size,
             "--random_resized_crop without --image_size: say what size to bring the crops to."),
            (self.class_weights and (self.mixup or self.cutmix),
             f"--class_weights with --mixup={self.mixup} and --cutmix={self.cutmix}: an image of "
             "two classes has no one weight; leave one or the other out."),
        ):  # fmt: skip
            if wrong:
                raise BadInput(why)


class Task(task.Task):
    """Images, uint8 or float, `[height, width, channels]`, and one label each, to logits."""

    options: Options
    num_classes = 0  # known once there is a model

    def source(self) -> Source:
        """Pixels in [0, 1]; cut, moved, mirrored and mixed in training where asked for.

        Asked for before TensorFlow is imported.
        """
        o, draws = self.options, self._draws()
        return Source(
            dataset=o.dataset,
            features=("image", "label"),
            batch=self._batch,
            check=self._check,
            decode=self._decode if o.image_size else None,
            augment=self._augment if draws.keys() & {"move", "rand_augment"} else None,
            mix=self._mix if "mix" in draws else None,
            num_draws=max((columns.stop for columns in draws.values()), default=0),
        )

    def model(self, info: DataInfo) -> keras.Model:
        """The network that `--model` names."""
        from trainer.models import classifiers, resnet, transfer

        o = self.options
        shape = info.shapes["image"]
        if len(shape) != 3:
            raise BadInput(f"--dataset={o.dataset}: an image has the shape {shape}, not (h, w, c).")
        if o.image_size:
            shape = (o.image_size, o.image_size, shape[-1])
        if o.pixel_mean and len(o.pixel_mean) not in (1, shape[-1]):
            raise BadInput(
                f"--pixel_mean={','.join(map(str, o.pixel_mean))} has {len(o.pixel_mean)} numbers "
                f"for images of {shape[-1]} channels; give one a channel."
            )
        self.num_classes = info.num_classes["label"]
        own: dict[str, tuple[Any, int, dict[str, Any]]] = {
            "dense": (classifiers.dense, 128, {"batch_norm": o.batch_norm}),
            "convnet": (classifiers.convnet, 32, {"batch_norm": o.batch_norm}),
            "resnet": (resnet.resnet, 16, {"depth": o.depth}),
        }
        common = {"dropout": o.dropout, "l2": o.l2}
        if o.model in own:
            network, width, more = own[o.model]
            model = network(shape, self.num_classes, width=o.width or width, **more, **common)
        else:
            model = transfer.application(
                o.model, shape, self.num_classes, weights=o.weights, **common
            )
        transfer.freeze(model, o.freeze)
        return model

    def loss(self) -> keras.losses.Loss:
        """Cross-entropy of the logits."""
        import keras

        if not self.options.soft_labels:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
        smoothing = self.options.label_smoothing
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=smoothing, reduction=None
        )

    def metrics(self) -> list[keras.metrics.Metric]:
        """How often the largest logit is the label's; of a mixture, that of its larger part."""
        import keras

        if self.options.soft_labels:
            return [keras.metrics.CategoricalAccuracy(name="accuracy")]
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

    def _draws(self) -> dict[str, slice]:
        """Which of an example's random numbers each augmentation has."""
        o, columns, end = self.options, {}, 0
        for name, wanted, number in (
            ("move", o.shift or o.flip, 3),
            ("crop", o.random_resized_crop, 22),  # ten attempts
            ("rand_augment", o.rand_augment, 6),  # two operations
            ("mix", o.mixup or o.cutmix, 4),
        ):
            if wanted:
                columns[name] = slice(end, end + number)
                end += number
        return columns

    def _batch(self, features: Features) -> tuple[Any, ...]:
        import tensorflow as tf

        o, images, labels = self.options, features["image"], features["label"]
        scale = 1 / 255 if images.dtype == tf.uint8 else 1.0
        x = tf.cast(images, tf.float32) * scale
        if o.pixel_mean:
            x = (x - tf.constant(o.pixel_mean)) / tf.constant(o.pixel_std)
        y = labels
        if o.soft_labels:
            assert self.num_classes, "the model tells how many classes there are: make it first"
            y = tf.one_hot(labels, self.num_classes)
        if not o.class_weights:
            return x, y
        return x, y, tf.gather(tf.constant(o.class_weights), labels)

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

    def _decode(self, features: Features, training: bool, draws: Any) -> Features:
        """One image, a file or an array, cut to its size."""
        from trainer import crops

        window: crops.Window = crops.center_window
        if training and self.options.random_resized_crop:
            window = crops.random_window(draws[self._draws()["crop"]])
        size = (self.options.image_size, self.options.image_size)
        return {**features, "image": crops.cut_out(features["image"], window, size)}

    def _augment(self, features: Features, numbers: Any) -> Features:
        """What changes whole batches of images, one after the other."""
        from trainer import crops

        o, image, draws = self.options, features["image"], self._draws()
        if "move" in draws:
            image = crops.moved(image, numbers[:, draws["move"]], o.shift, o.flip)
        if "rand_augment" in draws:
            image = self._rand_augment(image, numbers[:, draws["rand_augment"]])
        return {**features, "image": image}

    @functools.cached_property
    def _rand_augment(self) -> Callable[[Any, Any], Any]:
        import tensorflow as tf

        from trainer.rand_augment import RandAugment

        with tf.init_scope():  # its layers have variables, which no pipeline's graph may hold
            return RandAugment(self.options.rand_augment)

    def _mix(self, own: tuple[Any, ...], following: tuple[Any, ...], draws: Any) -> tuple[Any, ...]:
        from trainer import mixing

        numbers = draws[:, self._draws()["mix"]]
        return mixing.mixed(own, following, numbers, self.options.mixup, self.options.cutmix)
