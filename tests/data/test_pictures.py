"""Images in files: which are read, in which order, and as what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.pictures import read_pictures
from trainer.errors import BadInput

GREY = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4, 1)
RED = np.broadcast_to(np.array([200, 0, 0], np.uint8), (3, 4, 3))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "b.png").write_bytes(tf.io.encode_png(GREY).numpy())
    (tmp_path / "a.JPEG").write_bytes(tf.io.encode_jpeg(RED, quality=100).numpy())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_is_read_in_the_order_of_names(scans: Path) -> None:
    files, images = read_pictures(str(scans), (3, 4, 3))
    assert [Path(file).name for file in files] == ["a.JPEG", "b.png"]
    assert images.shape == (2, 3, 4, 3) and images.dtype == np.uint8
    np.testing.assert_allclose(images[0].astype(int), RED, atol=3)  # JPEG is lossy
    np.testing.assert_array_equal(images[1], np.repeat(GREY, 3, axis=-1))


def test_colours_become_grey_by_their_luma(scans: Path) -> None:
    _, (grey,) = read_pictures(str(scans / "a.JPEG"), (3, 4, 1))
    np.testing.assert_allclose(grey, 0.299 * 200, atol=3)


def test_a_pattern_names_its_matches_alone(scans: Path) -> None:
    files, (image,) = read_pictures(str(scans / "*.png"), (3, 4, 1))
    assert files == [str(scans / "b.png")]
    np.testing.assert_array_equal(image, GREY)


@pytest.mark.parametrize(
    ("given", "words"),
    [("c.png", "no file"), ("*.gif", "no file"), ("notes.txt", "notes.txt cannot be decoded")],
)
def test_what_is_no_image_is_refused_by_name(scans: Path, given: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_pictures(str(scans / given), (3, 4, 1))
