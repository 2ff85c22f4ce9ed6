"""Networks of keras.applications: their preprocessing, their weights, frozen layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.errors import BadInput
from trainer.models.transfer import application, freeze
from trainer.tasks.image_classification import APPLICATIONS

SMALL = "mobilenet_v3_small"
IMAGES = np.random.default_rng(0).random((4, 32, 32, 3), dtype=np.float32)


def make(name: str = SMALL, shape=(32, 32, 3), weights="none", l2=0.0) -> keras.Model:
    return application(name, shape, 5, weights=weights, dropout=0.0, l2=l2)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return make()


def test_the_flag_knows_every_network_of_keras():
    public = [n for n, f in vars(keras.applications).items() if n[0].isupper() and callable(f)]
    assert sorted(n.lower() for n in public) == sorted(n.replace("_", "") for n in APPLICATIONS)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        (SMALL, keras.applications.mobilenet_v3),  # keeps pixels
        ("mobilenet", keras.applications.mobilenet),  # -1 to 1
        ("resnet50", keras.applications.resnet),  # BGR without the mean
        pytest.param("densenet121", keras.applications.densenet, marks=pytest.mark.slow),
    ],
)
def test_images_go_through_the_networks_own_preprocessing(name, module):
    model = make(name)
    seen = module.preprocess_input(255 * IMAGES.copy())
    expected = model.get_layer("logits")(model.get_layer("backbone")(seen))
    np.testing.assert_allclose(model(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_backbone_infers(small):
    model = keras.models.clone_model(small)
    freeze(model, ["backbone"])
    assert [v.path for v in model.trainable_variables] == ["logits/kernel", "logits/bias"]
    before = model.get_weights()
    np.testing.assert_array_equal(model(IMAGES, training=True), model(IMAGES, training=False))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_some_layers_can_be_frozen(small):
    model = keras.models.clone_model(small)
    freeze(model, ["expanded_conv_1_", "conv_bn"])
    frozen = {layer.name for layer in model._flatten_layers() if not layer.trainable}
    assert frozen == {
        layer.name
        for layer in small._flatten_layers()
        if "expanded_conv_1_" in layer.name or "conv_bn" in layer.name
    }


def test_weights_come_from_a_file(small, tmp_path):
    path = tmp_path / "backbone.weights.h5"
    small.get_layer("backbone").save_weights(path)
    loaded = make(weights=str(path)).get_layer("backbone").get_weights()
    for ours, theirs in zip(loaded, small.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(BadInput, match=r"--model=mobilenet with --weights=.*backbone.weights.h5"):
        make("mobilenet", weights=str(path))


def test_l2_is_of_the_kernels(small):
    penalty = sum(float(loss) for loss in make(l2=0.01).losses)
    kernels = [v for v in small.trainable_variables if v.path.endswith("kernel")]
    assert penalty == pytest.approx(0.01 * sum(float((v.numpy() ** 2).sum()) for v in kernels), 0.1)
    assert not small.losses


def test_what_cannot_be_is_refused(small):
    for change, sentence in (
        (lambda: make("resnet50", (16, 16, 3)), "--model=resnet50 .* 16x16: .* --image_size"),
        (lambda: make(shape=(32, 32, 1)), "takes images of 3 channels and these have 1"),
        (lambda: make(weights="no/such.h5"), "--weights=no/such.h5: there is no such file"),
        (lambda: freeze(small, ["backbnoe"]), "--freeze=backbnoe is in no layer's name"),
        (
            lambda: freeze(keras.models.clone_model(small), ["backbone", "logits"]),
            "nothing to train",
        ),
    ):
        with pytest.raises(BadInput, match=sentence):
            change()
