"""Flags in, a mode run, an exit code out: `python -m trainer.main --flagfile=FILE`."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence

from trainer import environment, errors
from trainer.flagfile import help_text, parse


def main(arguments: Sequence[str]) -> int:
    """Runs the mode that the flags ask for.

    Returns:
        The exit code, as in `trainer/errors.py`.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("trainer").setLevel(logging.INFO)
    try:
        if {"--help", "-help", "-h", "--helpfull"} & set(arguments):
            print(help_text([a for a in arguments if not a.lstrip("-").startswith("h")]))
            return errors.OK
        config = parse(arguments)
        environment.settle()
        mode = importlib.import_module(f"trainer.modes.{config.run.mode}")
        return int(mode.run(config) or errors.OK)
    except (errors.BadInput, errors.Halted, errors.Preempted) as stop:
        print(f"trainer: {stop}", file=sys.stderr, flush=True)
        return stop.exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Destructors of iterators and thread pools can wait for many seconds (docs/exit-codes.md);
    # all that counts is on disk by now.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
