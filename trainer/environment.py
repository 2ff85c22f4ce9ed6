"""Which Keras runs: settled before TensorFlow is imported, the same on every machine."""

import os
import sys

from trainer.errors import BadInput


def settle() -> None:
    """Chooses Keras 3 on TensorFlow, and quiets TensorFlow's start-up lines.

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
    # without a driver TensorFlow logs an error for each start on a CPU
    quiet = "2" if os.path.exists("/dev/nvidiactl") else "3"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", quiet)
