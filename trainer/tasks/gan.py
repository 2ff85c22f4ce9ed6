"""Generative adversarial networks: on a ring of Gaussians, or on the images of a TFDS dataset."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from trainer import options, task
from trainer.errors import BadInput
from trainer.options import option
from trainer.source import DataInfo, Features, Source
from trainer.task import Outcome, PerExample, Shown

if TYPE_CHECKING:
    import keras
    import numpy as np

MODES, RADIUS, DEVIATION = 8, 1.0, 0.05
RING_EXAMPLES = {"train": 20_000, "test": 2_500}
SHOWN_POINTS, SHOWN_IMAGES = 2_500, 64  # how many samples are shown; a square number of images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """Generative adversarial networks"""

    dataset: str = option(
        "ring", "ring: eight Gaussians on a circle, made here; else a TFDS name with image"
    )
    model: str = option("dense", "the two networks", choices=("dense", "dcgan"))
    width: int = option(
        0, "hidden units of dense, first filters of dcgan; 0: 128 and 32", minimum=0
    )
    latents: int = option(8, "random numbers that an example is made from", minimum=1)
    dropout: float = option(0.0, "rate in the discriminator", minimum=0.0, maximum=0.99)
    discriminator_learning_rate: float = option(
        0.0, "peak learning rate of the discriminator; 0: --learning_rate", minimum=0.0
    )


class Task(task.Task):
    """Latents and real examples to made ones: two networks, two losses, one forward pass."""

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.shown_numbers = ("modes_covered", "high_quality") if self._ring else ()

    @property
    def _ring(self) -> bool:
        return self.options.dataset == "ring"

    def source(self) -> Source:
        """Real examples, images in [-1, 1], with latents drawn anew each time."""
        return Source(
            dataset="" if self._ring else self.options.dataset,
            make=ring if self._ring else None,
            features=("point",) if self._ring else ("image",),
            batch=self._batch,
            augment=self._draw_latents,
            augment_evaluation=True,
            num_draws=self.options.latents,
        )

    def model(self, info: DataInfo) -> keras.Model:
        """The two networks that `--model` names, as one model."""
        from trainer.models import gan

        o = self.options
        (shape,) = info.shapes.values()
        if o.model == "dense":
            width = o.width or 128
            return gan.dense(
                shape, latents=o.latents, width=width, dropout=o.dropout, bounded=not self._ring
            )
        if len(shape) != 3 or shape[0] % 4 or shape[1] % 4:
            raise BadInput(
                f"--model=dcgan: an example of --dataset={o.dataset} has the shape {shape}, and "
                "it makes images whose height and width are divisible by 4; use --model=dense."
            )
        return gan.dcgan(shape, latents=o.latents, width=o.width or 32, dropout=o.dropout)

    def objectives(self, model: keras.Model) -> dict[str, list[keras.Variable]]:
        """Each network by its own loss; the generator's tape sees through the discriminator."""
        return {
            "generator": model.generator.trainable_variables,
            "discriminator": model.discriminator.trainable_variables,
        }

    def learning_rates(self) -> dict[str, float]:
        """The discriminator's, where it has one of its own."""
        rate = self.options.discriminator_learning_rate
        return {"discriminator": rate} if rate else {}

    def forward(self, model: keras.Model, batch: tuple[Any, ...], training: bool) -> Outcome:
        """Both losses from the same made batch."""
        from trainer.models.gan import adversarial_losses

        made, *logits = model(batch, training=training)
        losses = {
            name: PerExample(values=values) for name, values in adversarial_losses(*logits).items()
        }
        return Outcome(losses=losses, y=batch[1], prediction=made)

    def served(self, model: keras.Model) -> keras.Model:
        """The generator, called on latents."""
        return model.generator

    def show(self, model: keras.Model, seed: int) -> Shown:
        """Samples from the same latents each time; of the ring, how well they cover it."""
        import numpy as np
        import tensorflow as tf

        number = SHOWN_POINTS if self._ring else SHOWN_IMAGES
        size = [number, self.options.latents]
        latents = tf.random.stateless_uniform(size, [seed, 0], -1.0, 1.0)
        made = np.asarray(model.generator(latents, training=False))
        if not self._ring:
            return Shown(images={"samples": grid(made)})
        covered, quality = coverage(made)
        return Shown(
            numbers={"modes_covered": float(covered), "high_quality": quality},
            images={"samples": scatter(made)},
        )

    def _draw_latents(self, features: Features, draws: Any) -> Features:
        """Uniform in [-1, 1), as in the DCGAN paper.

        Normal ones would not be the same to the bit when a run goes on elsewhere in its blocks:
        TensorFlow's logarithm and inverse error function round otherwise at a vector's end.
        """
        return {**features, "latents": 2.0 * draws - 1.0}

    def _batch(self, features: Features) -> tuple[Any, ...]:
        import tensorflow as tf

        if self._ring:
            return features["latents"], features["point"]
        images = features["image"]
        scale = 2 / 255 if images.dtype == tf.uint8 else 2.0
        return features["latents"], tf.cast(images, tf.float32) * scale - 1.0


def modes() -> np.ndarray:
    """The centres of the ring's Gaussians, float64 `[8, 2]`."""
    import numpy as np

    angles = 2 * math.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring(split: str) -> dict[str, Any]:
    """Points of the eight Gaussians, equally many of each in expectation.

    Raises:
        BadInput: The split is neither `train` nor `test`.
    """
    import numpy as np

    if split not in RING_EXAMPLES:
        raise BadInput(f"--dataset=ring has no split {split}; it has {', '.join(RING_EXAMPLES)}.")
    random, number = np.random.default_rng(len(split)), RING_EXAMPLES[split]
    centres = modes()[random.integers(0, MODES, number)]
    points = centres + DEVIATION * random.normal(size=(number, 2))
    return {"point": points.astype(np.float32)}


def coverage(points: np.ndarray) -> tuple[int, float]:
    """How many modes have a sample of high quality, and the share of such samples.

    A sample has high quality within three standard deviations of the nearest mode's centre.

    Args:
        points: `[number, 2]`.

    References:
        Srivastava et al.: VEEGAN: reducing mode collapse in GANs using implicit variational
        learning, 2017, section 4.1.
    """
    import numpy as np

    distances = np.linalg.norm(points[:, None] - modes(), axis=2)
    good = distances.min(axis=1) <= 3 * DEVIATION
    return len(np.unique(distances.argmin(axis=1)[good])), float(good.mean())


def scatter(points: np.ndarray, size: int = 256) -> np.ndarray:
    """Points as dark dots on white, uint8 `[size, size, 1]`; the ring fills two thirds of it."""
    import numpy as np

    edges = np.linspace(-1.5 * RADIUS, 1.5 * RADIUS, size + 1)
    columns, rows = points[:, 0], -points[:, 1]  # a picture's rows go down
    counts = np.histogram2d(rows, columns, bins=(edges, edges))[0]
    return (255 * 0.4 ** counts.clip(0, 5)).astype(np.uint8)[..., None]


def grid(images: np.ndarray) -> np.ndarray:
    """A square of images in [-1, 1], `[n * n, h, w, c]`, as one, uint8 `[n * h, n * w, c]`."""
    import numpy as np

    number, height, width, channels = images.shape
    side = math.isqrt(number)
    rows = images.reshape(side, side, height, width, channels).swapaxes(1, 2)
    picture = rows.reshape(side * height, side * width, channels)
    return np.round((picture + 1) * 127.5).clip(0, 255).astype(np.uint8)
