"""The embedded dataset: the handwritten digits that come with scikit-learn.

Importing this module registers `digits` with TFDS, as any builder's module does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

NUM_TRAIN = 898


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 real handwritten digits of 8x8 pixels, ready in half a second, without a network.

    `image` is uint8 [8, 8, 1]. The originals have the 17 grey levels 0 to 16; they are stored as
    `min(16 * level, 255)`, so that the usual division by 255 scales them to [0, 1]. `label` is the
    digit. The first 898 images are `train` and the last 899 `test`, in their own order, as in
    scikit-learn's example, whose SVM reaches an accuracy of 0.969.

    References:
        https://scikit-learn.org/stable/auto_examples/classification/plot_digits_classification.html
        E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="The 1,797 handwritten digits of 8x8 pixels bundled with scikit-learn.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            # Else TFDS orders the examples by a hash of their keys.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # nothing to download
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
        images = np.minimum(levels * 16, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
        return {
            "train": self._generate_examples(images[:NUM_TRAIN], labels[:NUM_TRAIN]),
            "test": self._generate_examples(images[NUM_TRAIN:], labels[NUM_TRAIN:]),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield row, {"image": image, "label": int(label)}
