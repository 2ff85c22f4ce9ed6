"""Images in files of their own, for predictions."""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.errors import BadInput

ENDINGS = (".png", ".jpg", ".jpeg")


def read_pictures(given: str, shape: tuple[int, ...]) -> tuple[list[str], np.ndarray]:
    """Decodes PNG and JPEG files, in the order of their names.

    Args:
        given: A file, a folder (with those below it), or a pattern like `scans/*.png`.
        shape: Height, width and channels that each must have. Grey images are made RGB where
            there are 3 channels, and coloured ones grey, by their luma, where there is 1.

    Returns:
        Their paths, and uint8 `[n, height, width, channels]`.

    Raises:
        BadInput: There is no such file, or one cannot be read or has another size.
    """
    files = _files(given)
    return [str(file) for file in files], np.stack([_decoded(file, shape) for file in files])


def _files(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        files = [f for f in path.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file()]
    elif path.is_file():
        files = [path]
    else:
        matches = map(Path, glob.glob(str(path), recursive=True))
        files = [match for match in matches if match.is_file()]
    if not files:
        what = f"a folder without {', '.join(ENDINGS)} files" if path.is_dir() else "no file"
        raise BadInput(f"--input={given} is {what}; name an image, a folder or a pattern.")
    return sorted(files)


def _decoded(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    height, width, channels = shape
    try:
        image = tf.io.decode_image(file.read_bytes(), channels=channels, expand_animations=False)
    except OSError as error:
        raise BadInput(
            f"--input: {file} cannot be read ({error.strerror}); leave it out."
        ) from None
    except tf.errors.OpError:
        raise BadInput(
            f"--input: {file} cannot be decoded as PNG or JPEG; mend it or leave it out."
        ) from None
    if tuple(image.shape[:2]) != (height, width):
        raise BadInput(
            f"--input: {file} has {image.shape[0]} x {image.shape[1]} pixels (height x width), and "
            f"the model takes {height} x {width}; resize it first."
        )
    return image.numpy()
