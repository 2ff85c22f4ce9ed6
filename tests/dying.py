"""`python -m tests.dying WHERE:NUMBER:SIGNAL FLAGS...`: the trainer, and what may befall it.

The process sends itself the signal, or several (`TERM+TERM`): after so many calls on the device
(`call`), before so many batches of fit (`batch`), in such an evaluation (`test`), at such an fsync
of a checkpoint (`sync`), or so many milliseconds after the first call (`moment`). Everything else
is `python -m trainer.main` with the same flags.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from trainer import environment
from trainer.main import main


def after(number: int, act: Callable[[], None], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, followed by the act where it is called for the `number`-th time."""
    calls = 0

    @functools.wraps(function)
    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        result = function(*arguments, **named)
        if calls == number:
            act()
        return result

    return counted


def arrange(plan: str) -> None:
    """Sees to it that the signal comes."""
    from trainer import checkpoint, loop
    from trainer.callbacks.saving import Saving

    where, number, name = plan.split(":")

    def die() -> None:
        for one in name.split("+"):
            os.kill(os.getpid(), signal.Signals[f"SIG{one}"])

    def later() -> None:
        threading.Timer(int(number) / 1000, die).start()

    if where == "call":
        loop.TrainCall.__call__ = after(int(number), die, loop.TrainCall.__call__)
    elif where == "test":
        # under fit too, which does not come by the tape loop's evaluation
        Saving.on_test_begin = after(int(number), die, Saving.on_test_begin)
    elif where == "batch":
        Saving.on_train_batch_begin = after(int(number), die, Saving.on_train_batch_begin)
    elif where == "sync":
        checkpoint._sync = after(int(number), die, checkpoint._sync)
    else:
        loop.TrainCall.__call__ = after(1, later, loop.TrainCall.__call__)


if __name__ == "__main__":
    environment.settle()
    arrange(sys.argv[1])
    code = main(sys.argv[2:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
