"""Flags in, a mode run, an exit code out: `python -m trainer.main --flagfile=FILE`."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from trainer import environment, errors
from trainer.config import Config, task_module
from trainer.data.offline import missing_offline, refuse_silence
from trainer.flagfile import help_text, parse
from trainer.recorded import no_record, record_of


def main(arguments: Sequence[str]) -> int:
    """Runs the mode that the flags ask for.

    Returns:
        The exit code, as in `trainer/errors.py`.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("trainer").setLevel(logging.INFO)
    try:
        if {"--help", "-help", "-h", "--helpfull"} & set(arguments):
            text = help_text([a for a in arguments if not a.lstrip("-").startswith("h")])
            with contextlib.suppress(BrokenPipeError):  # --help | head
                print(text, flush=True)
            return errors.OK
        config = parse(arguments)
        _refuse_missing(config)
        environment.settle()
        mode = importlib.import_module(f"trainer.modes.{config.run.mode}")
        return int(mode.run(config) or errors.OK)
    except KeyboardInterrupt:
        print("trainer: SIGINT; nothing was lost.", file=sys.stderr)
        return errors.PREEMPTED
    except (errors.BadInput, errors.Halted, errors.Preempted) as stop:
        # one line, whatever the value or the library's reason that it quotes
        print("trainer:", *str(stop).split(), file=sys.stderr, flush=True)
        return stop.exit_code


def _refuse_missing(config: Config) -> None:
    """What is neither here nor to be had is named before TensorFlow is imported."""
    mode = config.run.mode
    if mode in ("evaluate", "predict", "export") and not record_of(config).is_file():
        raise no_record(config)
    if mode in ("predict", "compare"):  # which have their own input
        return
    if config.data.tf_data_service:
        refuse_silence(config.data.tf_data_service)
    source = task_module(config.run.task).Task(config.task_options).source()
    if source.dataset and not config.data.from_files:
        missing = missing_offline(source.dataset, config.data.data_dir)
        if missing:
            raise errors.BadInput(missing)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Destructors of iterators and thread pools can wait for many seconds (docs/exit-codes.md);
    # all that counts is on disk by now.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
