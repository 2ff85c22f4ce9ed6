"""What the loop measures of itself, for whoever shows it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Meters:
    """Of the last call on the device.

    Attributes:
        step_seconds: Wall time of a step.
        examples_per_second: Over all replicas.
        input_wait_share: Share of the time in which the device waited for input; tape loop only.
        grad_norm: Global norm of the last reduced gradient before clipping; tape loop only.
        loss_scale: Under float16; tape loop only.
        skipped: Steps of the run that were not finite; tape loop only.
    """

    step_seconds: float = 0.0
    examples_per_second: float = 0.0
    input_wait_share: float | None = None
    grad_norm: float | None = None
    loss_scale: float | None = None
    skipped: int | None = None
