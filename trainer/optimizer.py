"""Keras's optimizers and learning rate schedules by name."""

from __future__ import annotations

import ast
from typing import Any

import keras

from trainer.config import Optimizer
from trainer.errors import BadInput

CLASSES = {
    "adadelta": keras.optimizers.Adadelta,
    "adafactor": keras.optimizers.Adafactor,
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
    "ftrl": keras.optimizers.Ftrl,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "momentum": keras.optimizers.SGD,
    "muon": keras.optimizers.Muon,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(config: Optimizer, train_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer that the flags describe, not yet built.

    Args:
        config: The flags.
        train_steps: Updates in the whole run: where a cosine ends.

    Raises:
        BadInput: Keras refuses an argument of `--optimizer_args`.
    """
    arguments: dict[str, Any] = {"momentum": 0.9} if config.optimizer == "momentum" else {}
    for argument in config.optimizer_args:
        name, _, value = argument.partition("=")
        arguments[name] = _literal(value)
    if config.weight_decay or config.optimizer in ("adamw", "muon"):
        arguments["weight_decay"] = config.weight_decay  # 0 too, not Keras's default of it
    if config.optimizer == "muon":  # has another for the variables that it leaves to AdamW
        arguments.setdefault("adam_weight_decay", config.weight_decay)
    if config.ema_momentum:
        arguments |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    rate = learning_rate(config, train_steps)
    try:
        optimizer = CLASSES[config.optimizer](learning_rate=rate, **arguments)
    except (TypeError, ValueError) as error:
        given = ",".join(config.optimizer_args)
        raise BadInput(
            f"--optimizer_args={given}: keras.optimizers.{CLASSES[config.optimizer].__name__} "
            f"refuses it ({str(error).splitlines()[0]}); give arguments that it takes."
        ) from None
    if config.weight_decay_exclude:
        optimizer.exclude_from_weight_decay(var_names=list(config.weight_decay_exclude))
    return optimizer


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return text


def learning_rate(
    config: Optimizer, train_steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A rate, or a schedule over the optimizer's updates, with warm-up where asked for.

    All but a piecewise schedule with warm-up are Keras's own classes, so that a saved model loads
    without this project.

    Raises:
        BadInput: The warm-up leaves nothing for the cosine.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "piecewise":
        factors = [config.schedule_factor**i for i in range(len(config.schedule_boundaries) + 1)]
        steps = keras.optimizers.schedules.PiecewiseConstantDecay(
            list(config.schedule_boundaries), [peak * f for f in factors]
        )
        return WarmUp(steps, warmup) if warmup else steps
    if config.schedule == "constant" and not warmup:
        return peak
    if config.schedule == "cosine" and warmup >= train_steps:
        raise BadInput(
            f"--warmup_steps={warmup} is not less than the {train_steps} steps of the run; "
            "shorten it or train longer."
        )
    constant = config.schedule == "constant"
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=1 if constant else train_steps - warmup,
        alpha=1.0 if constant else (config.final_learning_rate / peak if peak else 0.0),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


@keras.saving.register_keras_serializable(package="trainer")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, multiplied by `step / warmup_steps` until that reaches 1.

    Args:
        schedule: The schedule that is warmed up to; it counts from step 0 too.
        warmup_steps: Updates of the rise.
    """

    def __init__(
        self, schedule: keras.optimizers.schedules.LearningRateSchedule, warmup_steps: int
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """The rate of an update, float32 scalar."""
        rise = keras.ops.cast(step, "float32") / self.warmup_steps
        return self.schedule(step) * keras.ops.minimum(rise, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Arguments of an equal schedule."""
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        """The schedule that `get_config` described."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["warmup_steps"])
