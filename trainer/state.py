"""All that a checkpoint holds."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Two replicas whose dropout seeds differ by this draw other masks at every step of any run.
REPLICA_SEED_STRIDE = 1000003


@dataclasses.dataclass
class TrainState:
    """Variables, and what the loop itself remembers.

    Attributes:
        model: The model, built.
        optimizers: Objective name to its optimizer, built.
        step: Global batches consumed.
        epoch: Epochs ended, their evaluation and callbacks included.
        stopped: Whether a callback has ended the training.
        shortened: Whether the last epoch ended before it was full, because the run did.
        flags: Peak learning rates, by objective, and `--precision` of the last start, to notice a
            change.
        loss_scale: Under float16, else 1.
        good_steps: Finite steps since the loss scale last changed.
        skipped: Steps of the run that were not finite.
        epoch_totals: What the epoch so far has measured, float64 (`Measures.totals`), or None.
        callbacks: Callback name to its memory.
    """

    model: keras.Model
    optimizers: dict[str, keras.optimizers.Optimizer]
    step: int = 0
    epoch: int = 0
    stopped: bool = False
    shortened: bool = False
    flags: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss_scale: float = 1.0
    good_steps: int = 0
    skipped: int = 0
    epoch_totals: np.ndarray | None = None
    callbacks: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Every layer of the model, nested ones too. Keras has no public name for this."""
        return list(self.model._flatten_layers())

    @property
    def statistics(self) -> list[keras.Variable]:
        """What a forward pass in training writes besides seeds: BatchNormalization's averages."""
        trained = {id(v) for v in self.model.trainable_variables}
        return [
            v
            for v in self.model.variables
            if id(v) not in trained and v.dtype.startswith(("float", "bfloat"))
        ]

    @property
    def seeds(self) -> list[keras.Variable]:
        """States of the layers' seed generators, integers `[2]` each."""
        return [v for v in self.model.variables if v.path.endswith("seed_generator_state")]

    def variables(self) -> dict[str, tf.Variable]:
        """Every variable under a name that is the same in each process."""
        named = dict(_named("model", self.model.variables))
        for name, optimizer in self.optimizers.items():
            named |= dict(_named(f"optimizer/{name}", optimizer.variables))
        return named

    def digest(self) -> str:
        """sha256 of the model's weights: equal where two runs are equal to the bit."""
        digest = hashlib.sha256()
        for name, variable in _named("model", self.model.weights):
            digest.update(name.encode() + variable.numpy().tobytes())
        return digest.hexdigest()

    def numbers(self) -> dict[str, Any]:
        """What the loop remembers besides variables."""
        own = (f.name for f in dataclasses.fields(self))
        return {name: getattr(self, name) for name in own if name not in ("model", "optimizers")}

    def set_numbers(self, numbers: dict[str, Any]) -> None:
        """Takes back what `numbers` gave."""
        for name, value in numbers.items():
            setattr(self, name, value)


def make_state(
    model: keras.Model,
    optimizers: dict[str, keras.optimizers.Optimizer],
    objectives: dict[str, list[keras.Variable]],
    loss_scale: float,
) -> TrainState:
    """Builds the optimizers, so that every slot exists before anything is restored into it."""
    for name, optimizer in optimizers.items():
        optimizer.build(objectives[name])
    return TrainState(model=model, optimizers=optimizers, loss_scale=loss_scale)


def synchronize_batch_norm(model: keras.Model) -> None:
    """Makes BatchNormalization see the global batch; its moving statistics are right then too."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def decorrelate(state: TrainState, strategy: tf.distribute.Strategy) -> None:
    """Gives each replica's dropout a seed of its own.

    A seed state is mirrored, so all replicas would draw the same mask. A checkpoint holds the
    first replica's; this is put on again after each restore.
    """
    seeds = state.seeds
    if not seeds or strategy.num_replicas_in_sync == 1:
        return

    @tf.function
    def offset() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for seed in seeds:
            stride = tf.cast(replica, seed.dtype) * REPLICA_SEED_STRIDE
            seed.value.assign(seed.value + tf.stack([stride, tf.zeros_like(stride)]))

    strategy.run(offset)


def _named(prefix: str, variables: Iterable[keras.Variable]) -> Iterator[tuple[str, tf.Variable]]:
    """Names by path; a path that comes twice gets a number."""
    seen: dict[str, int] = {}
    for variable in variables:
        count = seen[variable.path] = seen.get(variable.path, 0) + 1
        suffix = f"#{count}" if count > 1 else ""
        yield f"{prefix}/{variable.path}{suffix}", variable.value
