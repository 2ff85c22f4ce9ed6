"""The gan task: its data, what it measures and shows, what it refuses, and a generator alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.support import environment
from trainer.data.plan import IndexPlan
from trainer.errors import BadInput
from trainer.source import DataInfo
from trainer.tasks import gan


def task(**options: object) -> gan.Task:
    return gan.Task(gan.Options(**options))


def info(*shape: int) -> DataInfo:
    return DataInfo(name="made", shapes={"image": shape}, num_classes={})


# --- the ring, and how well it is covered ---


def test_the_ring_covers_itself() -> None:
    """Three standard deviations in two dimensions hold 1 - exp(-4.5) = 0.989 of a Gaussian."""
    points = gan.ring("train")["point"]
    covered, quality = gan.coverage(points)
    assert covered == gan.MODES == 8
    assert quality == pytest.approx(1 - np.exp(-4.5), abs=0.003)


def test_splits_share_no_point() -> None:
    train, test = (gan.ring(split)["point"] for split in ("train", "test"))
    assert not set(map(tuple, train)) & set(map(tuple, test))
    with pytest.raises(BadInput, match="--dataset=ring has no split dev; it has train, test"):
        gan.ring("dev")


@given(st.sets(st.integers(0, 7)), st.integers(0, 5))
def test_modes_are_counted(seen: set[int], far: int) -> None:
    points = [*gan.modes()[sorted(seen)], *np.full((far, 2), 0.01), [9.0, 9.0]]
    covered, quality = gan.coverage(np.array(points))
    assert covered == len(seen)
    assert quality == pytest.approx(len(seen) / len(points))


def test_three_deviations_are_near_and_more_are_far() -> None:
    centre = gan.modes()[2]
    direction = np.array([0.6, 0.8]) * gan.DEVIATION
    assert gan.coverage(np.array([centre + 2.99 * direction])) == (1, 1.0)
    assert gan.coverage(np.array([centre + 3.01 * direction])) == (0, 0.0)


# --- pictures ---


def test_a_scatter_shows_points_where_they_are() -> None:
    picture = gan.scatter(np.array([[1.0, 0.0], [0.0, 1.0], [99.0, 0.0]]))
    assert picture.shape == (256, 256, 1) and picture.dtype == np.uint8
    rows, columns = np.nonzero(picture[..., 0] < 255)
    places = {(row // 64, column // 64) for row, column in zip(rows, columns, strict=True)}
    assert len(rows) == 2
    assert places <= {(1, 3), (2, 3), (0, 1), (0, 2)}  # right, and up: not down


def test_a_grid_keeps_each_image() -> None:
    values = np.linspace(-1, 1, 4 * 2 * 3 * 1).reshape(4, 2, 3, 1)
    picture = gan.grid(values)
    expected = np.round((values + 1) * 127.5).astype(np.uint8)
    assert picture.shape == (4, 6, 1) and (picture.min(), picture.max()) == (0, 255)
    assert (picture[:2, :3] == expected[0]).all() and (picture[:2, 3:] == expected[1]).all()
    assert (picture[2:, :3] == expected[2]).all()
    assert (gan.grid(np.full((1, 1, 1, 3), [[-7, 0, 7]]))[0, 0] == [0, 128, 255]).all()


# --- latents ---


@given(st.integers(0, 40), st.integers(1, 20))
def test_an_examples_latents_are_its_own(first: int, number: int) -> None:
    """Whatever stands beside it in the batch, to the bit; another pass has others."""
    latents = drawn(rows=range(64))
    assert drawn(rows=range(first, first + number)).tobytes() == (
        latents[first : first + number].tobytes()
    )
    assert not np.any(latents == drawn(rows=range(64), data_pass=1))


def test_latents_are_uniform_and_unrelated() -> None:
    """Also beyond 64, where they once were the next pass's."""
    latents = drawn(rows=range(4000), columns=70)
    assert latents.min() >= -1 and latents.max() < 1
    together = np.concatenate([latents, drawn(rows=range(4000), columns=70, data_pass=1)], axis=1)
    related = np.corrcoef(together, rowvar=False) - np.eye(140)
    assert np.abs(related).max() < 5 / np.sqrt(4000)
    assert np.abs(together.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 4000)


def drawn(rows: range, columns: int = 3, data_pass: int = 0) -> np.ndarray:
    plan = IndexPlan(num_examples=4000, global_batch_size=8, seed=3)
    draws = plan.draws(tf.constant(data_pass, tf.int64), tf.constant(list(rows), tf.int64), columns)
    return task().source().augment({}, draws)["latents"].numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_come_in_minus_one_to_one(dtype: type) -> None:
    white = 255 if dtype is np.uint8 else 1
    images = tf.constant([[[[0]], [[white]]]], dtype=dtype)
    _, real = task(dataset="digits").source().batch({"image": images, "latents": None})
    assert real.numpy().ravel().tolist() == pytest.approx([-1.0, 1.0])


# --- the networks ---


@pytest.mark.parametrize("model", ["dense", "dcgan"])
@pytest.mark.parametrize("shape", [(8, 12, 1), (28, 28, 3)])
def test_generators_make_what_discriminators_take(model: str, shape: tuple[int, ...]) -> None:
    own = task(dataset="some", model=model, width=4, latents=5, dropout=0.1)
    networks = own.model(info(*shape))
    latents, real = tf.random.stateless_normal([6, 5], [1, 2]), tf.zeros([6, *shape])
    outcome = own.forward(networks, (latents, real), training=True)
    assert outcome.prediction.shape == (6, *shape)
    assert float(tf.reduce_max(tf.abs(outcome.prediction))) <= 1
    assert {name: loss.values.shape for name, loss in outcome.losses.items()} == {
        "generator": (6,),
        "discriminator": (6,),
    }
    both = own.objectives(networks).values()
    names = [v.path for variables in both for v in variables]
    assert names == [v.path for v in networks.trainable_variables]


@pytest.mark.parametrize("shape", [(30, 28, 1), (2,)])
def test_dcgan_refuses_what_it_cannot_halve_twice(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"--model=dcgan: an example of --dataset=some"):
        task(dataset="some", model="dcgan").model(info(*shape))


def test_a_generator_loads_without_the_project(tmp_path: Path) -> None:
    """In a process that cannot import it."""
    networks = task(dataset="some", model="dcgan", width=4, latents=5).model(info(8, 8, 1))
    latents = np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 5)
    np.save(tmp_path / "latents.npy", latents)
    networks.generator.save(tmp_path / "generator.keras")
    code = (
        "import keras, numpy as np, sys\n"
        "made = keras.models.load_model('generator.keras')(np.load('latents.npy'))\n"
        "assert not any(name.partition('.')[0] == 'trainer' for name in sys.modules)\n"
        "np.save('made.npy', made)"
    )
    env = environment() | {"PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, timeout=300)
    assert (np.load(tmp_path / "made.npy") == networks.generator(latents).numpy()).all()


def test_both_networks_save_as_one(tmp_path: Path) -> None:
    import keras

    networks = task(width=4).model(DataInfo(name="ring", shapes={"point": (2,)}, num_classes={}))
    networks.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert type(loaded) is type(networks)
    for one, other in zip(networks.get_weights(), loaded.get_weights(), strict=True):
        assert (one == other).all()


def test_the_same_latents_are_shown_each_time() -> None:
    own = task(dataset="some", model="dense", width=4)
    networks = own.model(info(4, 4, 1))
    one, again, other = (own.show(networks, seed).images["samples"] for seed in (0, 0, 1))
    assert one.shape == (32, 32, 1)
    assert (one == again).all() and (one != other).any()
