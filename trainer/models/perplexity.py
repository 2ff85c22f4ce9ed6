"""How many tokens a language model hesitates between."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="trainer")
class Perplexity(keras.metrics.Mean):
    """`exp` of the mean cross-entropy of logits, over all targets but those of `ignore_class`.

    The mean is over the tokens of a whole split, as sums that add up over batches and replicas:
    a mean of the batches' perplexities would be something else.

    Args:
        ignore_class: The target that is none, as Keras's losses take it.
        name: In the logs.
        dtype: Of the sums.
    """

    def __init__(
        self, ignore_class: int | None = None, name: str = "perplexity", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.ignore_class = ignore_class
        self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds a batch: targets integer `[b, t]`, logits `[b, t, vocabulary]`."""
        losses = keras.losses.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True, ignore_class=self.ignore_class
        )
        # Keras's means of [b, t] heed the mask of `losses` where there are weights, and else not
        weights = keras.ops.ones_like(losses) if sample_weight is None else sample_weight
        return super().update_state(losses, sample_weight=weights)

    def result(self) -> Any:
        """Float scalar, 1 at best; the size of the vocabulary for one that knows nothing."""
        return keras.ops.exp(super().result())

    def get_config(self) -> dict[str, Any]:
        """Arguments of an equal metric."""
        return {**super().get_config(), "ignore_class": self.ignore_class}
