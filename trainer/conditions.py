"""Conditions between flags that need no device and no data."""

from __future__ import annotations

import re
from typing import Any

from trainer.errors import BadInput

# What Keras's optimizers take that the step has in another way.
ELSEWHERE = {
    "clipnorm": "clips before the all-reduce; use --clip_norm",
    "global_clipnorm": "clips before the all-reduce; use --clip_norm",
    "clipvalue": "clips before the all-reduce; use --clip_norm",
    "gradient_accumulation_steps": "fails inside a tf.function; use --accumulation_steps",
    "ema_overwrite_frequency": "fails inside a tf.function; leave it out",
    "use_ema": "has a flag of its own; use --ema_momentum",
    "ema_momentum": "has a flag of its own; use --ema_momentum",
    "loss_scale_factor": "has a flag of its own; use --initial_loss_scale",
    "learning_rate": "has a flag of its own; use --learning_rate",
    "weight_decay": "has a flag of its own; use --weight_decay",
}


def check_together(config: Any) -> None:
    """Raises `BadInput` for the first flags that do not go together.

    Args:
        config: The whole `Config`, which cannot be named here: it stands on this.
    """
    _check_optimizer_args(config.optimizer.optimizer_args)
    o, s, c = config.optimizer, config.step, config.callbacks
    if (o.schedule == "piecewise") != bool(o.schedule_boundaries):
        raise BadInput(
            f"--schedule={o.schedule} with --schedule_boundaries="
            f"{','.join(map(str, o.schedule_boundaries))}: give both for a piecewise schedule, "
            "or neither."
        )
    if list(o.schedule_boundaries) != sorted(set(o.schedule_boundaries)):
        raise BadInput(
            f"--schedule_boundaries={','.join(map(str, o.schedule_boundaries))} must rise."
        )
    scheduled = o.schedule != "constant" or o.warmup_steps > 0
    if c.reduce_lr_patience and scheduled:
        raise BadInput(
            f"--reduce_lr_patience={c.reduce_lr_patience} sets the learning rate, which a schedule "
            f"(--schedule={o.schedule}, --warmup_steps={o.warmup_steps}) does not let it; "
            "use one or the other."
        )
    service = config.data.tf_data_service
    if service and not re.fullmatch(r"grpc://[^/]+:\d{1,5}", service):
        raise BadInput(f"--tf_data_service={service} is not of the form grpc://host:port.")
    if service and config.data.reader == "memory":
        raise BadInput(
            f"--tf_data_service={service} reads from disk, not from this machine's memory; leave "
            "out --reader=memory."
        )
    if s.jit_compile == "auto" and config.runtime.deterministic:
        raise BadInput(
            "--jit_compile=auto measures, so two runs may differ: with --deterministic say "
            "--jit_compile=false, update or true."
        )
    if config.run.mode == "predict" and not config.trained.input:
        raise BadInput(
            "--mode=predict needs --input=, what to predict; give it a file or a folder."
        )
    if c.profile_steps and profile_range(config) is None:
        raise BadInput(f"--profile_steps={c.profile_steps} is not of the form START:STOP.")
    if config.run.loop == "fit":
        _check_fit(config)


def _check_optimizer_args(arguments: tuple[str, ...]) -> None:
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (equals and name.isidentifier() and value):
            raise BadInput(f"--optimizer_args={argument} is not of the form name=value.")
        if name in ELSEWHERE:
            raise BadInput(f"--optimizer_args={argument}: Keras's {name} {ELSEWHERE[name]}.")


def _check_fit(config: Any) -> None:
    """What `model.fit()` cannot do as the tape loop does, by flag."""
    s = config.step
    for given, why in (
        (s.clip_norm and f"--clip_norm={s.clip_norm}", "Keras clips before the all-reduce"),
        (
            s.accumulation_steps > 1 and f"--accumulation_steps={s.accumulation_steps}",
            "Keras's accumulation fails inside a tf.function under a strategy",
        ),
        (
            s.jit_compile in ("auto", "update") and f"--jit_compile={s.jit_compile}",
            "fit compiles the whole step or nothing",
        ),
        (
            config.checkpoint.checkpoint_every_steps
            and f"--checkpoint_every_steps={config.checkpoint.checkpoint_every_steps}",
            "fit resumes at the start of an epoch only",
        ),
    ):
        if given:
            raise BadInput(
                f"{given} is not for --loop=fit: {why}; leave it out or use --loop=tape."
            )


def profile_range(config: Any) -> tuple[int, int] | None:
    """The first and last step of `--profile_steps`, or None where it is not START:STOP."""
    start, colon, stop = config.callbacks.profile_steps.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        return None
    return int(start), int(stop)
