"""What callbacks remember goes through a checkpoint's bytes and comes back equal."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trainer.callbacks.memory import REMEMBERED, recall, remind
from trainer.checkpoint import _pack, _unpack

ARGUMENTS = {
    keras.callbacks.BackupAndRestore: ["backup"],
    keras.callbacks.ModelCheckpoint: ["model.keras"],
}

numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
tensors = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
memories = st.recursive(
    numbers | tensors,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert repr(one) == repr(other)  # nan equals nan, and -0.0 not 0.0


class Stateful(keras.callbacks.Callback):
    """A user's own."""

    def __init__(self, state: Any = None) -> None:
        super().__init__()
        self.state = state

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


@given(memories)
def test_any_memory_comes_back_equal(memory: Any) -> None:
    saved = _pack({"callbacks": recall([Stateful(memory)])})
    remind([reminded := Stateful()], _unpack(saved)["callbacks"])
    assert_equal(reminded.state, memory)


@pytest.mark.parametrize("memory", [np.array(["a", None], object), {"set"}, object()])
def test_what_would_come_back_otherwise_is_refused_when_it_is_saved(memory: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        _pack({"callbacks": recall([Stateful(memory)])})


@pytest.mark.parametrize("kind", REMEMBERED, ids=lambda kind: kind.__name__)
def test_what_keras_resets_is_remembered(kind: type) -> None:
    """Every attribute of the list is there once training began, and goes through a checkpoint."""
    callbacks = [kind(*ARGUMENTS.get(kind, [])) for _ in range(2)]
    for callback in callbacks:
        if kind not in (keras.callbacks.TensorBoard, keras.callbacks.BackupAndRestore):
            callback.on_train_begin()  # those two want a model, and set nothing else
    first, second = callbacks
    for value, attribute in enumerate(REMEMBERED[kind], start=3):
        assert hasattr(first, attribute), f"Keras's {kind.__name__} has no {attribute} any more"
        setattr(first, attribute, float(value))
    remind([second], _unpack(_pack(recall([first]))))
    for value, attribute in enumerate(REMEMBERED[kind], start=3):
        assert getattr(second, attribute) == float(value)


@given(st.lists(st.integers(), min_size=2, max_size=5))
def test_callbacks_of_one_class_keep_apart(states: list[int]) -> None:
    memory = recall([Stateful(state) for state in states])
    reminded = [Stateful() for _ in states]
    remind(reminded, memory)
    assert [callback.state for callback in reminded] == states


def test_whoever_has_no_memory_is_left_alone() -> None:
    remind([new := Stateful("new"), keras.callbacks.TerminateOnNaN()], recall([]))
    assert new.state == "new"
    assert recall([keras.callbacks.TerminateOnNaN()]) == {}
