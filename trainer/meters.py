"""What the loop measures of itself, for whoever shows it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Meters:
    """Of the last call on the device.

    Attributes:
        items: What the task counts by, and how many an example has (`Task.items`).
        step_seconds: Wall time of a step.
        examples_per_second: Over all replicas.
        input_wait_share: Share of the time in which the device waited for input; tape loop only.
        grad_norm: Global norm of the last reduced gradient before clipping; tape loop only.
        loss_scale: Under float16; tape loop only.
        skipped: Steps of the run that were not finite; tape loop only.
    """

    items: tuple[str, int] = ("examples", 1)
    step_seconds: float = 0.0
    examples_per_second: float = 0.0
    input_wait_share: float | None = None
    grad_norm: float | None = None
    loss_scale: float | None = None
    skipped: int | None = None

    @property
    def speeds(self) -> dict[str, float]:
        """Examples a second, and the task's own items; by name."""
        name, number = self.items
        own = {f"{name}_per_second": self.examples_per_second * number}
        return {"examples_per_second": self.examples_per_second} | own

    @property
    def speed(self) -> str:
        """The task's own items a second, in words."""
        name, number = self.items
        return f"{self.examples_per_second * number:,.0f} {name}/s"

    def scalars(self) -> dict[str, float]:
        """Every number that is known, by name."""
        numbers = dataclasses.asdict(self) | self.speeds
        return {k: v for k, v in numbers.items() if k != "items" and v is not None}
