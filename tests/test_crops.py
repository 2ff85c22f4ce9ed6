"""Windows against the method in NumPy; cut out of arrays and of files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import crops

quickly = settings(max_examples=40, deadline=None)
sides = st.integers(1, 700)


def numbers(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).random(size, dtype=np.float32)


def window_by_hand(height: int, width: int, draws: np.ndarray) -> list[int]:
    """The method, one attempt after the other."""
    areas, aspects, (down, right) = draws[:10], draws[10:20], draws[20:]
    for area, aspect in zip(areas, aspects, strict=True):
        target = height * width * (0.08 + 0.92 * area)
        ratio = math.exp(math.log(3 / 4) + aspect * (math.log(4 / 3) - math.log(3 / 4)))
        h, w = round(math.sqrt(target / ratio)), round(math.sqrt(target * ratio))
        if 0 < h <= height and 0 < w <= width:
            return [int(down * (height - h + 1)), int(right * (width - w + 1)), h, w]
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return [(height - h + 1) // 2, (width - w + 1) // 2, h, w]


@quickly
@given(sides, sides, st.integers(0, 10**6))
def test_random_window_is_the_method(height, width, seed):
    draws = numbers(seed, 22)
    found = crops.random_window(tf.constant(draws))(height, width).numpy()
    # float32 beside float64: at a tie of rounding a side may differ by one
    assert np.abs(found - window_by_hand(height, width, draws)).max() <= 1
    top, left, h, w = found
    assert 0 <= top <= top + h <= height and 0 <= left <= left + w <= width and h > 0 < w


def test_random_windows_cover_areas_and_aspects_evenly():
    """Of a square image: what was rejected for its size shifts the means a little."""
    windows = np.array([crops.random_window(numbers(s, 22))(500, 500).numpy() for s in range(1000)])
    area = windows[:, 2] * windows[:, 3] / 500**2
    aspect = windows[:, 3] / windows[:, 2]
    assert 0.079 < area.min() < 0.1 and 0.85 < area.max() <= 1.0
    assert area.mean() == pytest.approx(0.51, abs=0.03)
    assert 0.74 < aspect.min() < 0.77 and 1.30 < aspect.max() < 1.35
    assert np.log(aspect).mean() == pytest.approx(0.0, abs=0.03)


@quickly
@given(sides, sides)
def test_center_window_is_the_middle_square(height, width):
    top, left, h, w = crops.center_window(tf.constant(height), tf.constant(width)).numpy()
    assert h == w == max(1, round(0.875 * min(height, width)))
    assert top == (height - h) // 2 and left == (width - w) // 2


def resized_by_hand(part: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, between the centres of pixels."""

    def weights(length: int) -> np.ndarray:
        at = (np.arange(size) + 0.5) * length / size - 0.5
        low = np.clip(np.floor(at), 0, length - 1).astype(int)
        high, share = np.clip(low + 1, 0, length - 1), np.clip(at - low, 0, 1)
        matrix = np.zeros((size, length))
        matrix[np.arange(size), low] += 1 - share
        matrix[np.arange(size), high] += share
        return matrix

    return np.einsum("ih,hwc,jw->ijc", weights(part.shape[0]), part, weights(part.shape[1]))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_cut_is_the_window_resized(dtype):
    image = (numbers(0, 40 * 30 * 3).reshape(40, 30, 3) * 255).astype(dtype)
    draws = numbers(1, 22)
    top, left, h, w = crops.random_window(draws)(40, 30).numpy()
    expected = resized_by_hand(image[top : top + h, left : left + w].astype(float), 16)
    found = crops.cut_out(tf.constant(image), crops.random_window(draws), (16, 16))
    assert found.dtype == dtype and found.shape == (16, 16, 3)
    np.testing.assert_allclose(found, expected, atol=0.51 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_file_gives_what_its_pixels_give(kind):
    smooth = np.add.outer(np.arange(60), np.arange(80)) + np.arange(3)[:, None, None]
    image = tf.constant(np.moveaxis(smooth, 0, 2).astype(np.uint8))
    contents = getattr(tf.io, f"encode_{kind}")(image)
    window = crops.random_window(numbers(2, 22))
    pixels = tf.io.decode_image(contents, expand_animations=False)
    found = crops.cut_out(contents, window, (24, 24))
    assert found.dtype == tf.uint8 and found.shape == (24, 24, 3)
    # JPEG's colours are interpolated across the window's border only when all is decoded
    difference = np.abs(found.numpy().astype(int) - crops.cut_out(pixels, window, (24, 24)))
    assert difference.max() <= (0 if kind == "png" else 4)


def test_gray_files_get_three_channels():
    contents = tf.io.encode_jpeg(tf.fill([20, 30, 1], tf.constant(99, tf.uint8)))
    found = crops.cut_out(contents, crops.center_window, (8, 8))
    assert found.shape == (8, 8, 3) and np.abs(found.numpy().astype(int) - 99).max() <= 1


def test_moved_and_mirrored():
    images = tf.reshape(tf.range(2 * 4 * 5, dtype=tf.float32), (2, 4, 5, 1)) + 1
    draws = tf.constant([[0.0, 0.99, 0.6], [0.5, 0.5, 0.4]])
    first, second = crops.moved(images, draws, 1, True).numpy()
    assert np.all(first[0] == 0) and np.all(first[:, -1] == 0)  # black came in above and right
    np.testing.assert_array_equal(first[1:, :-1], images[0, :-1, 1:])
    np.testing.assert_array_equal(second, images[1, :, ::-1])
