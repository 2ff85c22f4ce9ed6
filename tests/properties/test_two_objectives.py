"""Generator and discriminator: two losses of one forward pass, decided upon together.

`trainer.tasks.gan` with few points, whose last batch of a pass has 3, and on images of 8 x 8.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.properties.distance import distance
from trainer.errors import BadInput

slow = pytest.mark.slow
RING = dict(task="tests.made_gan", examples=35, optimizer_args=("beta_1=0.5",), dropout=0.0)
ITERATIONS = ["optimizer/generator/adam/iteration", "optimizer/discriminator/adam_1/iteration"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Flags of a small DCGAN on 64 of scikit-learn's digits."""
    folder: Path = tmp_path_factory.mktemp("digits")
    return dict(
        task="gan", dataset="digits", model="dcgan", width=4, data_dir=str(folder),
        train_split="train[:64]", validation_split="test[:30]", epochs=1,
        optimizer_args=("beta_1=0.5",),
    )  # fmt: skip


@pytest.mark.parametrize("replicas", [2, 4])
def test_weights_do_not_depend_on_the_replicas(run, agree, replicas):
    """Clipped by objective, averaged; a partial batch; its latents too are each example's own."""
    flags = RING | dict(clip_norm=0.1, ema_momentum=0.9, validation_split="test", eval_batch_size=5)
    one, several = run("trained", 1, **flags), run("trained", replicas, **flags)
    agree(one, several, 2e-6)
    for name, values in one["history"].items():
        assert several["history"][name] == pytest.approx(values, rel=2e-6), name
    assert {"loss", "discriminator", "val_loss", "val_discriminator"} == one["history"].keys()


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=slow)])
def test_nor_do_those_of_convolutions(run, agree, images, replicas):
    """The generator's BatchNormalization sees the global batch, its statistics too.

    The run that comes first prepares the dataset, which must not change its weights either.
    """
    flags = images | dict(optimizer="sgd", learning_rate=0.1, optimizer_args=())
    # sums of 1,000 products in another order, through three normalised layers
    agree(run("trained", 1, **flags), run("trained", replicas, **flags), 2e-5)


def test_latents_do_not_depend_on_where_a_call_began(run, agree):
    """Nor on the elements that the pipeline cuts a pass into: to the bit."""
    flags = RING | dict(dropout=0.3, validation_split="test")
    runs = [run("trained", 2, **flags, steps_per_loop=n) for n in (1, 2, 100)]
    for other in runs[1:]:
        agree(runs[0], other, 0.0)


@pytest.mark.parametrize("replicas", [1, 2, pytest.param(4, marks=slow)])
def test_it_is_what_fit_does(run, agree, replicas):
    """`train_step` of the model: two tapes, two optimizers, other rates; equal to the bit."""
    flags = RING | dict(
        examples=48, validation_split="test", dropout=0.3, keras_semantics=True,
        discriminator_learning_rate=0.003,
    )  # fmt: skip
    tape, fit = (run("trained", replicas, loop=loop, **flags) for loop in ("tape", "fit"))
    agree(tape, fit, 0.0)
    assert tape["step"] == fit["step"] == 12
    assert tape["history"].keys() == fit["history"].keys() >= {"loss", "val_discriminator"}
    for name, values in fit["history"].items():
        assert tape["history"][name] == pytest.approx(values, rel=2e-6), name


@pytest.mark.parametrize("replicas", [1, 2])
def test_it_is_what_fit_does_with_convolutions(run, agree, images, replicas):
    flags = images | dict(keras_semantics=True, dropout=0.3, validation_split="none")
    tape, fit = (run("trained", replicas, loop=loop, **flags) for loop in ("tape", "fit"))
    # fit's graph writes the gradients of BatchNormalization another way (see test_fit.py): on one
    # replica, and here on two, where the farthest variable is 5e-7 of its size away
    agree(tape, fit, 1e-5, alike=False)


@pytest.mark.parametrize(
    ("rates", "moved"),
    [
        (dict(learning_rate=0.0, discriminator_learning_rate=0.01), "discriminator"),
        (dict(learning_rate=0.01, discriminator_learning_rate=1e-38), "generator"),
    ],
)
def test_a_loss_trains_its_own_network_alone(run, rates, moved):
    result = run("trained", 2, **RING | dict(optimizer="sgd", optimizer_args=()) | rates)
    for name in result["trainable"]:
        same = result["start"][name].tobytes() == result["weights"][name].tobytes()
        assert same == (f"/{moved}/" not in f"/{name}/"), name


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_one_objective_that_is_not_finite_skips_both(run, replicas, precision):
    """An infinite real point spoils the discriminator's gradient alone; one loss scale for both."""
    flags = RING | dict(
        examples=40, planted=(9, 26), shuffle=False, epochs=1, steps_per_loop=1,
        on_nonfinite="skip", precision=precision, initial_loss_scale=1024, ema_momentum=0.9,
    )  # fmt: skip
    states = run("stepped", replicas, **flags)["states"]
    assert [state["step"] for state in states] == list(range(6))
    for before, after in itertools.pairwise(states):
        spoilt = before["step"] in (1, 3)
        assert after["unlike"] == []
        assert (distance(before["weights"], after["weights"])[0] == 0.0) == spoilt
        assert after["skipped"] - before["skipped"] == spoilt
        falls = spoilt and precision == "mixed_float16"
        assert after["loss_scale"] / before["loss_scale"] == (0.5 if falls else 1)
    assert [states[-1]["weights"][name] for name in ITERATIONS] == [3, 3]


def test_float32_halts_by_default(run):
    flags = RING | dict(planted=(9,), shuffle=False, epochs=1)
    result = run("stepped", 2, **flags)
    assert result["halted"].startswith("step 1 (epoch 0, batch 1) has a gradient of norm")
    assert [result["states"][-1]["weights"][name] for name in ITERATIONS] == [1, 1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (dict(ema_momentum=0.9), "--ema_momentum=0.9 ends with Keras's one optimizer alone"),
        (dict(precision="mixed_float16"), "--precision=mixed_float16 scales the loss"),
        (dict(task="tests.properties.tasks", problem="game"), "its model has no train_step"),
    ],
)
def test_what_fit_cannot_is_refused(run, flags, said):
    given = RING | flags
    if "problem" in flags:
        given = flags
    with pytest.raises(BadInput, match=said):
        run("refused_by_fit", 1, **given)
