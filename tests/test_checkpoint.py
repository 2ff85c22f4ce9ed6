"""What is saved comes back to the bit, or is passed over with the reason; nothing good is lost."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import environment, in_process
from trainer.checkpoint import Checkpoints, damage, warm_start
from trainer.config import Checkpoint
from trainer.errors import BadInput
from trainer.state import TrainState, make_state

FILES = ["manifest.json", "numbers.npz", "variables.data-00000-of-00001", "variables.index"]


def make(
    seed: int = 0,
    units: int = 3,
    layers: tuple[str, ...] = ("one", "two"),
    optimizer: str = "adam",
    outputs: int = 1,
) -> TrainState:
    """A state with BatchNormalization, Dropout, slots and an average of the weights."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((4,))
    for name in layers:
        x = keras.layers.Dense(units, name=name)(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    model = keras.Model(inputs, keras.layers.Dense(outputs, name="out")(x), name="made")
    kind = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[optimizer]
    objectives = {"loss": model.trainable_variables}
    own = {"loss": kind(0.01, use_ema=True, ema_momentum=0.5)}
    return make_state(model, own, objectives, loss_scale=1.0)


def scramble(state: TrainState, seed: int) -> None:
    """Other values in every variable and number."""
    rng = np.random.default_rng(seed)
    for variable in state.variables().values():
        values = rng.integers(1, 99, variable.shape)
        variable.assign(tf.cast(values, variable.dtype))
    state.step, state.epoch = int(rng.integers(1, 10**6)), int(rng.integers(1, 999))
    state.loss_scale, state.good_steps = float(rng.uniform()), int(rng.integers(99))
    state.skipped, state.stopped = int(rng.integers(99)), bool(rng.integers(2))
    state.epoch_totals = rng.normal(size=5)
    state.callbacks = {"EarlyStopping": {"best": float(rng.normal()), "wait": None}}


def content(state: TrainState) -> dict[str, Any]:
    """All of it, for comparison to the bit."""
    numbers = state.numbers()
    totals = numbers.pop("epoch_totals")
    return {
        **{name: variable.numpy().tobytes() for name, variable in state.variables().items()},
        "numbers": repr(numbers),
        "totals": None if totals is None else totals.tobytes(),
    }


@pytest.fixture(scope="module")
def state() -> TrainState:
    return make()


def checkpoints(workdir: Path, state: TrainState, **flags: Any) -> Checkpoints:
    return Checkpoints(workdir, state, Checkpoint(**flags))


def save_steps(workdir: Path, state: TrainState, steps: list[int], **flags: Any) -> Checkpoints:
    """Saves at each step a state of its own, with a loss that falls."""
    own = checkpoints(workdir, state, **({"keep_last": 9, "keep_best": 0} | flags))
    for step in steps:
        scramble(state, step)
        state.step, state.epoch, state.stopped = step, step // 10, False
        own.save({"val_loss": 1 / step})
    return own


def steps_in(workdir: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in workdir.glob("checkpoints/step-*"))


# --- all of it ---


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_everything_comes_back_to_the_bit(
    state: TrainState, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    workdir = tmp_path_factory.mktemp("run")
    scramble(state, seed)
    before = content(state)
    checkpoints(workdir, state).save({"val_loss": 1.0})
    scramble(state, seed + 1)
    assert content(state) != before
    saved = checkpoints(workdir, state).restore()
    assert content(state) == before
    assert saved is not None and saved.step == state.step


def test_nothing_that_training_changes_is_left_out(state: TrainState) -> None:
    """Statistics of BatchNormalization, dropout's seed, slots, averages, iterations, the rate."""
    names = "\n".join(state.variables())
    for part in (
        "model/norm/moving_mean", "model/norm/moving_variance", "seed_generator_state",
        "adam/iteration", "adam/learning_rate", "one_kernel_momentum", "one_kernel_velocity",
        "one_kernel_average",
    ):  # fmt: skip
        assert part in names, names
    model, optimizer = state.model, state.optimizers["loss"]
    held = {id(variable) for variable in state.variables().values()}
    assert {id(v.value) for v in [*model.variables, *optimizer.variables]} == held
    assert set(state.numbers()) == {
        "step", "epoch", "stopped", "shortened", "flags", "loss_scale", "good_steps", "skipped",
        "epoch_totals", "callbacks",
    }  # fmt: skip


def test_where_nothing_was_saved_nothing_is_restored(tmp_path: Path, state: TrainState) -> None:
    before = content(state)
    assert checkpoints(tmp_path, state).restore() is None
    assert content(state) == before
    assert list(tmp_path.iterdir()) == []


# --- never overwritten, and what is kept ---


def test_a_step_is_never_written_twice(tmp_path: Path, state: TrainState) -> None:
    own = save_steps(tmp_path, state, [10])
    (folder,) = tmp_path.glob("checkpoints/*")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    scramble(state, 5)
    state.step, state.epoch = 10, 1
    assert own.save({"val_loss": 0.0}) == folder
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert before == after


def test_a_checkpoint_is_its_files_and_a_manifest(tmp_path: Path, state: TrainState) -> None:
    save_steps(tmp_path, state, [10])
    (folder,) = tmp_path.glob("checkpoints/*")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == set(FILES[1:])
    assert (manifest["step"], manifest["epoch"]) == (10, 1)
    assert manifest["metrics"] == {"val_loss": 0.1}
    assert manifest["versions"] == {"tensorflow": tf.__version__, "keras": keras.__version__}
    assert ["Dense", "one"] in manifest["layers"]


def test_the_manifest_is_put_in_place_last(
    tmp_path: Path, state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every file on the disk before; cut off anywhere earlier, the folder does not count."""
    events: list[str] = []
    from trainer import checkpoint

    monkeypatch.setattr(checkpoint.os, "fsync", lambda descriptor: events.append("sync"))
    replace = Path.replace

    def seen(self: Path, target: Path) -> Path:
        events.append(Path(target).name)
        assert sorted(path.name for path in self.parent.iterdir()) == [
            "manifest.json.tmp", *FILES[1:]
        ]  # fmt: skip
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen)
    save_steps(tmp_path, state, [10])
    # three files, the manifest, the folder; then its new name, and the folder above
    assert events == [*["sync"] * 5, "manifest.json", "sync", "sync"]


@settings(deadline=None, max_examples=12)
@given(
    losses=st.lists(st.none() | st.floats(0, 9) | st.just(float("nan")), min_size=1, max_size=6),
    keep_last=st.integers(1, 3),
    keep_best=st.integers(0, 2),
    best_mode=st.sampled_from(["auto", "max"]),
)
def test_the_last_and_the_best_are_kept(
    state: TrainState,
    losses: list[float | None],
    keep_last: int,
    keep_best: int,
    best_mode: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    workdir = tmp_path_factory.mktemp("run")
    own = checkpoints(workdir, state, keep_last=keep_last, keep_best=keep_best, best_mode=best_mode)
    kept: list[tuple[float, int]] = []
    for step, loss in enumerate(losses, start=1):
        state.step, state.epoch = step, step
        own.save({} if loss is None else {"val_loss": loss})
        if loss is not None and np.isfinite(loss):
            kept.append((-loss if best_mode == "max" else loss, step))
        # the best of those still there: what was deleted cannot come back
        kept = sorted(k for k in kept if k[1] in steps_in(workdir) or k[1] == step)
        newest = range(max(1, step - keep_last + 1), step + 1)
        assert steps_in(workdir) == sorted({*newest, *(s for _, s in kept[:keep_best])})


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("val_loss", False),
        ("loss", False),
        ("val_accuracy", True),
        ("val_auc", True),
        ("mae", False),
    ],
)
def test_the_direction_of_the_best_is_known(
    tmp_path: Path, state: TrainState, metric: str, larger: bool
) -> None:
    assert checkpoints(tmp_path, state, best_metric=metric).larger_is_better is larger
    assert checkpoints(tmp_path, state, best_metric=metric, best_mode="max").larger_is_better
    assert not checkpoints(tmp_path, state, best_metric=metric, best_mode="min").larger_is_better


# --- damage ---


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def clear(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [Path.unlink, truncate, zero, garble, clear]


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, state: TrainState, name: str, harm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(tmp_path, state, [10])
    older = content(state)
    save_steps(tmp_path, state, [20])
    newest = max(tmp_path.glob("checkpoints/*"))
    harm(newest / name)
    if damage(newest) == "":  # a byte in the manifest that says nothing, such as of a version
        assert name == "manifest.json" and harm is garble
        return
    with caplog.at_level(logging.WARNING, logger="trainer"):
        own = checkpoints(tmp_path, state, keep_last=1, keep_best=0)
        saved = own.restore()
    assert saved is not None and saved.step == 10
    assert content(state) == older
    (message,) = caplog.messages
    assert message.startswith(f"Passed over {newest}: ") and message.endswith(".")
    assert name.split(".")[0] in message
    # the run goes on: the good one is not given up for the damaged one, which is written anew
    state.step, state.epoch = 15, 1
    own.save({})
    assert checkpoints(tmp_path, state).restore().step == 15  # type: ignore[union-attr]
    state.step, state.epoch = 20, 2
    own.save({})
    assert checkpoints(tmp_path, state).restore().step == 20  # type: ignore[union-attr]
    assert steps_in(tmp_path) == [20]


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", "{}", '{"step": 20}', "{", '[["step", 20]]', '"files"']
)
def test_a_manifest_of_another_shape_is_passed_over(
    tmp_path: Path, state: TrainState, text: str
) -> None:
    save_steps(tmp_path, state, [10, 20])
    (max(tmp_path.glob("checkpoints/*")) / "manifest.json").write_text(text)
    own = checkpoints(tmp_path, state)
    assert own.restore().step == 10  # type: ignore[union-attr]
    own.save({"val_loss": 1.0})


@pytest.mark.parametrize("harm", DAMAGES[1:], ids=lambda harm: harm.__name__)
def test_where_none_is_whole_the_run_does_not_start_from_nothing(
    tmp_path: Path, state: TrainState, harm: Any
) -> None:
    save_steps(tmp_path, state, [10, 20])
    for path in tmp_path.glob("checkpoints/*/variables.index"):
        harm(path)
    with pytest.raises(BadInput, match="none of its checkpoints is whole") as refused:
        checkpoints(tmp_path, state).restore()
    assert str(refused.value).startswith(f"--workdir={tmp_path}: ")
    assert "--overwrite" in str(refused.value)
    assert steps_in(tmp_path) == [10, 20]


def test_an_interrupted_first_save_is_a_start_from_nothing(
    tmp_path: Path, state: TrainState
) -> None:
    save_steps(tmp_path, state, [10])
    for path in tmp_path.glob("checkpoints/*/manifest.json"):
        path.rename(path.with_name("manifest.json.tmp"))
    own = checkpoints(tmp_path, state)
    assert own.restore() is None
    state.step, state.epoch = 5, 0
    own.save({})
    assert steps_in(tmp_path) == [5]  # what was left of the other is swept


# --- what fits ---


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"units": 4}, ["model/one/kernel is (4, 3) float32 there, (4, 4) float32 here"]),
        ({"outputs": 2}, ["model/out/kernel", "model/out/bias"]),
        ({"layers": ("one",)}, ["model/two/kernel is only there", "model/two/bias"]),
        ({"layers": ("one", "two", "three")}, ["model/three/kernel is missing there"]),
        ({"optimizer": "sgd"}, ["optimizer/loss/adam", "is only there"]),
    ],
    ids=str,
)
def test_another_architecture_is_refused_by_name(
    tmp_path: Path, other: dict[str, Any], named: list[str]
) -> None:
    save_steps(tmp_path, make(), [10])
    different = make(**other)
    before = content(different)
    with pytest.raises(BadInput) as refused:
        checkpoints(tmp_path, different).restore()
    text = str(refused.value)
    assert text.startswith(f"--workdir={tmp_path} ") and "\n" not in text
    for name in named:
        assert name in text
    assert content(different) == before


def test_layers_in_another_order_are_refused(tmp_path: Path) -> None:
    """Their shapes are the same, and TensorFlow would restore them without a word."""
    save_steps(tmp_path, make(layers=("one", "two", "three")), [10])
    with pytest.raises(BadInput, match="its layers stand in another order"):
        checkpoints(tmp_path, make(layers=("one", "three", "two"))).restore()


# --- a start from another run's weights ---


def test_init_from_takes_what_matches_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = make(seed=1)
    save_steps(tmp_path, trained, [10, 20])
    kept = {v.path: v.numpy() for v in trained.model.variables}
    fresh = make(seed=2, outputs=2)
    own = {v.path: v.numpy() for v in fresh.model.variables}
    slots = {v.path: v.numpy() for v in fresh.optimizers["loss"].variables}
    with caplog.at_level(logging.INFO, logger="trainer"):
        warm_start(fresh, str(tmp_path))
    for variable in fresh.model.variables:
        left = variable.path.startswith("out/")
        np.testing.assert_array_equal(variable.numpy(), (own if left else kept)[variable.path])
    for variable in fresh.optimizers["loss"].variables:
        np.testing.assert_array_equal(variable.numpy(), slots[variable.path])
    assert (fresh.step, fresh.epoch) == (0, 0)
    (message,) = caplog.messages
    number = len(own) - 2
    assert f"{number} variables match" in message and "step-00000020" in message
    assert "model/out/kernel, model/out/bias" in message


def test_init_from_takes_one_checkpoint_too_and_passes_over_damage(tmp_path: Path) -> None:
    trained = make(seed=1)
    save_steps(tmp_path, trained, [10])
    kept = [v.numpy() for v in trained.model.trainable_variables]
    save_steps(tmp_path, trained, [20])
    older, newest = sorted(tmp_path.glob("checkpoints/*"))
    truncate(newest / "variables.index")
    for place in (older, tmp_path):
        fresh = make(seed=2)
        warm_start(fresh, str(place))
        for variable, value in zip(fresh.model.trainable_variables, kept, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


def test_init_from_refuses_what_holds_nothing(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match=f"--init_from={place} holds no whole checkpoint"):
            warm_start(make(), str(place))
    save_steps(tmp_path, make(layers=("one",)), [10])
    keras.utils.clear_session()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(7, name="else")(inputs))
    strange = make_state(
        model, {"loss": keras.optimizers.SGD()}, {"loss": model.trainable_variables}, 1.0
    )
    with pytest.raises(BadInput, match=f"--init_from={tmp_path}: no variable matches"):
        warm_start(strange, str(tmp_path))


# --- other processes ---


def go_on(replicas: int, workdir: str, epochs: int) -> dict[str, Any]:
    """In a process of its own: trains on from what is there; its weights, step and files."""
    import trainer

    config = trainer.configure(
        task="tests.made", workdir=workdir, num_logical_devices=replicas, epochs=epochs,
        global_batch_size=8, steps_per_loop=3, learning_rate=0.05, batch_norm=True, shift=1,
        flip=True, progress="none", tensorboard=False, optimizer="momentum",
    )  # fmt: skip
    kept = str(Path(workdir) / f"{replicas}-{epochs}.keras")
    callback = keras.callbacks.ModelCheckpoint(kept)
    result = trainer.train(config, [callback])
    images = np.random.default_rng(0).uniform(size=(5, 4, 4, 1)).astype(np.float32)
    return {
        "weights": [np.array(w) for w in result.model.get_weights()],
        "history": result.history,
        "kept": kept,
        "images": images,
        "predicted": np.array(result.model(images, training=False)),
    }


def begin_and_go_on(folder: str) -> dict[str, Any]:
    """One epoch on 2 replicas, of which a copy stays for 1 replica, and two more."""
    go_on(2, f"{folder}/2", 1)
    shutil.copytree(f"{folder}/2", f"{folder}/1")
    return go_on(2, f"{folder}/2", 3)


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """One epoch on 2 replicas, then two more from there: on 2, and on 1."""
    folder = tmp_path_factory.mktemp("further")
    return {
        2: in_process("tests.test_checkpoint:begin_and_go_on", str(folder)),
        1: in_process("tests.test_checkpoint:go_on", 1, str(folder / "1"), 3),
    }


def test_a_run_goes_on_with_another_number_of_replicas(continued: dict[int, Any]) -> None:
    """To rounding: the same batches, augmented alike, and BatchNormalization over all of them."""
    assert len(continued[1]["history"]["loss"]) == 3
    for name in continued[1]["history"]:
        one, two = (continued[replicas]["history"][name] for replicas in (1, 2))
        np.testing.assert_allclose(one, two, rtol=1e-5)
    for one, two in zip(continued[1]["weights"], continued[2]["weights"], strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=2e-6)


STRANGER = """
import sys

sys.modules["trainer"] = sys.modules["tests"] = None  # an import of either fails
import keras
import numpy as np

with np.load("told.npz") as told:
    model = keras.saving.load_model(sys.argv[1])
    predicted = np.array(model(told["images"], training=False))
    np.testing.assert_array_equal(predicted, told["predicted"])
assert model.optimizer.iterations == 18, model.optimizer.iterations
print("equal")
"""


def test_a_saved_model_loads_where_this_project_is_not(
    continued: dict[int, Any], tmp_path: Path
) -> None:
    """Keras's ModelCheckpoint in the tape loop on 2 replicas: the predictions, to the bit."""
    told = continued[2]
    np.savez(tmp_path / "told.npz", images=told["images"], predicted=told["predicted"])
    env = {k: v for k, v in environment(TF_CPP_MIN_LOG_LEVEL="3").items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, told["kept"]],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "equal", done.stderr
