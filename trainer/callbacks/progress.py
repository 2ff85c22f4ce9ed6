"""How far a run is: a bar with its end in sight on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import keras
from tqdm import tqdm

from trainer.meters import Meters


class Progress(keras.callbacks.Callback):
    """One line an epoch; on a terminal a bar for the epoch that runs.

    Args:
        meters: Where the loop tells its speed.
        style: `auto`, `bar` or `lines`.
    """

    async_safe = False

    def __init__(self, meters: Meters, style: str) -> None:
        super().__init__()
        self.meters = meters
        self.bar_wanted = style == "bar" or (style == "auto" and sys.stderr.isatty())
        self.bar: tqdm | None = None
        self.epoch = 0
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """A new bar."""
        self.epoch, self.began = epoch, time.perf_counter()
        if self.bar_wanted:
            self.bar = tqdm(
                total=self.params["steps"],
                desc=f"epoch {epoch + 1}/{self.params['epochs']}",
                unit="step",
                dynamic_ncols=True,
                leave=False,
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """The bar moves."""
        if self.bar is not None:
            self.bar.set_postfix({k: f"{v:.4g}" for k, v in (logs or {}).items()}, refresh=False)
            self.bar.update(batch + 1 - self.bar.n)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """One line, with the time that all epochs left may take."""
        self.close()
        seconds = time.perf_counter() - self.began
        left = (self.params["epochs"] - epoch - 1) * seconds
        metrics = "  ".join(f"{k} {v:.4f}" for k, v in ordered(logs or {}).items())
        tqdm.write(
            f"epoch {epoch + 1}/{self.params['epochs']}  {metrics}  {self.meters.speed}  "
            f"{_span(seconds)}, {_span(left)} left",
            file=sys.stderr,
        )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """No bar stays open."""
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def ordered(logs: dict[str, float]) -> dict[str, float]:
    """Training metrics first, the loss before the others."""
    return dict(
        sorted(logs.items(), key=lambda kv: (kv[0].startswith("val_"), "loss" not in kv[0]))
    )


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
