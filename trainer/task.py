"""The protocol of a task: a problem as one replica sees it.

TensorFlow and Keras are imported where they are used: a task's file is read for its flags first.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import TYPE_CHECKING, Any

from trainer.errors import BadInput
from trainer.source import DataInfo, Features, Source

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerExample:
    """One objective's losses before any reduction.

    Attributes:
        values: float32 `[b]`, or `[b, t]` for sequences.
        weights: float32, broadcastable to `values` from the left, or None for ones.
        mask: bool, likewise, or None: elements that count neither in the sum nor in the number.
    """

    values: tf.Tensor
    weights: tf.Tensor | None = None
    mask: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one forward pass gives.

    Attributes:
        losses: Objective name to its losses.
        y: The targets, as metrics take them.
        prediction: The model's output, as metrics take it.
    """

    losses: dict[str, PerExample]
    y: Any
    prediction: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """What a task lets people see of its model after an epoch.

    Attributes:
        numbers: Name to value; they join the epoch's metrics, so `--best_metric` may watch them.
        text: Name to text: into TensorBoard, and into the closing summary.
        images: Name to uint8 `[height, width, 1 or 3]`: into TensorBoard, and as PNG into
            `<workdir>/samples`.
    """

    numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    text: dict[str, str] = dataclasses.field(default_factory=dict)
    images: dict[str, Any] = dataclasses.field(default_factory=dict)


class Task:
    """A supervised problem; a subclass says what it is, and changes what differs.

    Attributes:
        options: The task's own `Options`.
        shown_numbers: Names of the numbers that `show` gives, if any.
    """

    shown_numbers: tuple[str, ...] = ()

    def __init__(self, options: Any) -> None:
        self.options = options

    def source(self) -> Source:
        """The data it wants."""
        raise NotImplementedError

    def model(self, info: DataInfo) -> keras.Model:
        """A built model, shaped by the data. Made inside the strategy's scope."""
        raise NotImplementedError

    def loss(self) -> keras.losses.Loss:
        """The loss, elementwise: `reduction=None`. The division stands in `step.py` alone."""
        raise NotImplementedError

    def metrics(self) -> list[keras.metrics.Metric]:
        """What is measured besides the loss. Metrics must add up, as all of Keras's do."""
        return []

    def objectives(self, model: keras.Model) -> dict[str, list[keras.Variable]]:
        """The variables that each loss trains, each with an optimizer of its own."""
        return {"loss": model.trainable_variables}

    def learning_rates(self) -> dict[str, float]:
        """Peak rates of the objectives that have another than `--learning_rate`."""
        return {}

    def items(self) -> tuple[str, int]:
        """What speed is told in besides examples: a plural, and how many an example has."""
        return "examples", 1

    def served(self, model: keras.Model) -> keras.Model:
        """The part that is exported and predicts, called on the `x` of a batch."""
        return model

    def show(self, model: keras.Model, seed: int) -> Shown:
        """What is to be seen of the model after an epoch: samples, learned numbers.

        Called outside the replicas, after the evaluation. It must change nothing: no variable, and
        no random state but its own (`keras.random` with a seed, `tf.random.stateless_*`).

        Args:
            model: With its averaged weights where it was evaluated with them.
            seed: Of the run.
        """
        return Shown()

    def read_input(self, path: str, info: DataInfo) -> tuple[Features, Features]:
        """Reads what `--mode=predict --input=path` names.

        Args:
            path: A file, a folder or a pattern.
            info: What the model was shaped by.

        Returns:
            A column by whose values people know the examples again (`{"file": [...]}`,
            `{"row": [...]}`), and their features, arrays `[n, ...]` as `Source.batch` takes them;
            of a target, which is to be predicted, any value of the right type.

        Raises:
            BadInput: Something in it cannot be read: names the file and the row.
        """
        raise BadInput(
            "--mode=predict: this task has no read_input; see docs/evaluate-predict-export.md."
        )

    def describe(self, prediction: Any, info: DataInfo) -> Features:
        """What people want to read of predictions, as columns of one value an example.

        Args:
            prediction: The model's output on some examples, float32 arrays `[n, ...]`.
            info: What the model was shaped by.
        """
        columns = prediction.reshape(len(prediction), -1).T
        if len(columns) == 1:
            return {"prediction": columns[0]}
        return {f"prediction_{i}": column for i, column in enumerate(columns)}

    def forward(self, model: keras.Model, batch: tuple[Any, ...], training: bool) -> Outcome:
        """One pass over one replica's (micro-)batch, in replica context.

        Args:
            model: What `model()` returned.
            batch: `(x, y)` or `(x, y, sample_weight)`, possibly of no examples.
            training: Whether dropout and batch statistics are active.
        """
        import keras

        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        prediction = model(x, training=training)
        values = self.loss().call(_float32(y), _float32(prediction))
        # A mask that layers computed (Embedding(mask_zero=True)) or a loss (ignore_class) travels
        # on the tensor, and fit heeds it: so must we. Keras has no public name for it.
        masks = [getattr(tensor, "_keras_mask", None) for tensor in (prediction, values)]
        masks = [mask for mask in masks if mask is not None]
        mask = functools.reduce(operator.and_, masks) if masks else None
        losses = {"loss": PerExample(values=values, weights=weights, mask=mask)}
        return Outcome(losses=losses, y=y, prediction=prediction)


def _float32(tensors: Any) -> Any:
    """As Keras's losses cast what they are called with."""
    import keras
    import tensorflow as tf

    return keras.tree.map_structure(lambda t: tf.cast(t, tf.float32), tensors)
