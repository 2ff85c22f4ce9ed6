"""Which Keras runs: settled before TensorFlow is imported, the same on every machine."""

import os
import re
import sys
import tempfile

from trainer.errors import BadInput


def settle() -> None:
    """Chooses Keras 3 on TensorFlow, and imports TensorFlow without its start-up lines.

    Raises:
        BadInput: The environment asks for another Keras or backend.
    """
    choose()
    # without a driver TensorFlow logs an error for each start on a CPU
    quiet = "2" if os.path.exists("/dev/nvidiactl") else "3"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", quiet)
    if "tensorflow" not in sys.modules:
        _import_tensorflow()


def choose() -> None:
    """Chooses Keras 3 on TensorFlow for whoever imports Keras next: a user's task, say.

    Raises:
        BadInput: The environment asks for another Keras or backend.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS", "0").lower() not in ("", "0", "false"):
        raise BadInput(
            f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']} asks for Keras 2, but this "
            "project is built on Keras 3; unset it."
        )
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # goes before keras.json
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
    if backend != "tensorflow":
        raise BadInput(
            f"KERAS_BACKEND={backend} asks for another backend, but this project runs on "
            "TensorFlow; unset it."
        )


def _import_tensorflow() -> None:
    """Imports it, and keeps back what it says at each start (oneDNN, no CUDA drivers).

    These lines come before its log levels are read, straight to file descriptor 2.
    """
    noise = re.compile(rb"I\d{4} |WARNING: All log messages before absl")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            said.seek(0)
            for line in said:
                if not noise.match(line):
                    os.write(2, line)
