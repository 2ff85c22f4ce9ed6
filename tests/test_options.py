"""A field is a flag: its type, choices and bounds hold for every value, from whoever it comes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainer import config
from trainer.config import Config, configure, flat
from trainer.errors import BAD_INPUT, BadInput
from trainer.options import MOST_FLOAT, MOST_INT, Options, near, option

COLOURS = ("red", "green", "blue")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Options):
    """Sample"""

    number: int = option(3, "an integer", minimum=0, maximum=9)
    size: float = option(0.5, "a number", minimum=-1.0)
    rate: float = option(0.5, "a positive number", above=0.0)
    text: str = option("", "some text")
    colour: str = option("red", "a choice", choices=COLOURS)
    wanted: bool = option(False, "yes or no")
    numbers: tuple[int, ...] = option((), "integers", items=int, minimum=1)
    names: tuple[str, ...] = option((), "names")


def refusal(**values: Any) -> str:
    """The sentence that refuses a value: it names the flag, the value, and has one line."""
    with pytest.raises(BadInput) as refused:
        Sample(**values)
    assert refused.value.exit_code == BAD_INPUT
    ((name, value),) = values.items()
    text = str(refused.value)
    assert text.startswith(f"--{name}=") and "\n" not in text.replace(str(value), "")
    return text


@given(number=st.integers())
def test_an_integer_stays_within_its_bounds(number: int) -> None:
    if 0 <= number <= 9:
        assert Sample(number=number).number == number
    else:
        bound = "at least 0" if number < 0 else "at most 9"
        assert f"--number={number} is out of range" in refusal(number=number)
        assert bound in refusal(number=number)


@given(size=st.floats())
def test_a_number_is_finite_and_within_its_bounds(size: float) -> None:
    if math.isfinite(size) and abs(size) > MOST_FLOAT:
        assert "more than float32 can hold" in refusal(size=size)
    elif math.isfinite(size) and size >= -1:
        assert Sample(size=size).size == size
    elif math.isfinite(size):
        assert "at least -1" in refusal(size=size)
    else:
        assert "not a finite number" in refusal(size=size)


@given(rate=st.floats(-MOST_FLOAT, MOST_FLOAT))
def test_a_bound_can_be_exclusive(rate: float) -> None:
    if rate > 0:
        assert Sample(rate=rate).rate == rate
    else:
        assert "more than 0" in refusal(rate=rate)


@given(colour=st.text())
def test_a_choice_is_one_of_those_there_are(colour: str) -> None:
    assume(colour not in COLOURS)
    refusal(colour=colour)


@pytest.mark.parametrize("given_, meant", [("gren", "green"), ("Blue", "blue"), ("redd", "red")])
def test_a_misspelt_choice_gets_the_one_that_was_meant(given_: str, meant: str) -> None:
    text = refusal(colour=given_)
    assert f"--colour={given_} is not one of red, green, blue; did you mean {meant}?" == text


@given(value=st.text(alphabet=st.characters(), min_size=1))
def test_text_is_printable_and_stripped(value: str) -> None:
    """What a flagfile's line could not hold is refused: line ends, spaces around."""
    if value.isprintable() and value == value.strip():
        assert Sample(text=value).text == value
    else:
        refusal(text=value)


@given(value=st.none() | st.text() | st.floats(allow_nan=False) | st.booleans())
def test_a_value_has_its_fields_type(value: Any) -> None:
    """In code too: True is no integer, and 3.0 none either."""
    for name in ("number", "numbers"):
        refusal(**{name: value})
    if not isinstance(value, bool):
        refusal(wanted=value)
    if not isinstance(value, str):
        refusal(text=value)
    if not isinstance(value, float):
        refusal(size=value)


@given(st.integers(0, 9))
def test_an_integer_is_taken_for_a_number(number: int) -> None:
    size = Sample(size=number).size
    assert size == number and isinstance(size, float)


@pytest.mark.parametrize("number", [MOST_INT + 1, 2**63, 10**400])
def test_an_integer_is_one_that_tensorflow_can_count_to(number: int) -> None:
    assert f"at most {MOST_INT}" in refusal(numbers=[number])
    with pytest.raises(BadInput, match=f"at most {MOST_INT}"):
        configure(train_steps=number)


@given(st.lists(st.integers(max_value=MOST_INT)))
def test_items_are_checked_one_by_one(numbers: list[int]) -> None:
    if all(n >= 1 for n in numbers):
        assert Sample(numbers=tuple(numbers)).numbers == tuple(numbers)
        assert Sample(numbers=numbers).numbers == tuple(numbers)
    else:
        worst = next(n for n in numbers if n < 1)
        assert f"--numbers={worst} is out of range" in refusal(numbers=numbers)


@pytest.mark.parametrize("names", [("a,b",), ("",), ("a", " b"), ("a\nb",)])
def test_items_are_such_as_commas_can_part(names: tuple[str, ...]) -> None:
    refusal(names=names)


def test_values_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().number = 4  # type: ignore[misc]


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_near_names_a_known_one_or_help(given_: str, known: list[str]) -> None:
    hint = near(given_, known, "--")
    assert hint == "; see --help." or any(hint == f"; did you mean --{k}?" for k in known)


# --- the flags there are ---


FIELDS = [f for part in Config().parts.values() for f in dataclasses.fields(part)]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_defaults_help_and_bounds_make_sense(field: dataclasses.Field[Any]) -> None:
    meta = field.metadata
    assert meta["help"] and meta["help"].isprintable() and len(meta["help"]) < 160
    assert isinstance(field.default, (bool, int, float, str, tuple))
    if meta["choices"] is not None:
        assert field.default in meta["choices"]
    if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
        # a bound below, else a negative batch size or rate goes through
        assert meta["min"] is not None or meta["above"] is not None


def test_no_two_parts_have_a_flag_of_one_name() -> None:
    names = [f.name for f in FIELDS]
    assert len(names) == len(set(names))


def test_flat_names_build_the_nested_configuration() -> None:
    made = configure(epochs=3, learning_rate=0.5, dropout=0.25)
    assert (made.loop.epochs, made.optimizer.learning_rate) == (3, 0.5)
    assert made.task_options.dropout == 0.25
    assert configure(**flat(made)) == made
    assert made.replace(epochs=4).replace(epochs=3) == made
    assert made.replace(epochs=4) != made


@pytest.mark.parametrize(
    ("name", "meant"), [("epoch", "epochs"), ("learning_rat", "learning_rate"), ("model_", "model")]
)
def test_an_unknown_name_gets_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(BadInput, match=rf"^--{name} is not a flag; did you mean --{meant}\?$"):
        configure(**{name: 1})


def test_the_workdir_is_the_tasks_by_default() -> None:
    assert configure().run.workdir == "runs/image_classification"
    assert configure(task="tests.made").run.workdir == "runs/made"


# --- conditions between flags ---


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimizer_args": ("clipnorm=1.0",)}, ["--optimizer_args=clipnorm=1.0", "--clip_norm"]),
        ({"optimizer_args": ("clipvalue=1",)}, ["--optimizer_args=clipvalue=1", "--clip_norm"]),
        ({"optimizer_args": ("global_clipnorm=1",)}, ["global_clipnorm=1", "--clip_norm"]),
        (
            {"optimizer_args": ("gradient_accumulation_steps=2",)},
            ["gradient_accumulation_steps=2", "--accumulation_steps"],
        ),
        ({"optimizer_args": ("use_ema=true",)}, ["use_ema=true", "--ema_momentum"]),
        ({"optimizer_args": ("learning_rate=1",)}, ["learning_rate=1", "use --learning_rate"]),
        ({"optimizer_args": ("nesterov",)}, ["--optimizer_args=nesterov", "name=value"]),
        ({"optimizer_args": ("beta_1=",)}, ["--optimizer_args=beta_1=", "name=value"]),
        ({"schedule": "piecewise"}, ["--schedule=piecewise", "--schedule_boundaries="]),
        ({"schedule_boundaries": (3,)}, ["--schedule=constant", "--schedule_boundaries=3"]),
        (
            {"schedule": "piecewise", "schedule_boundaries": (5, 3)},
            ["--schedule_boundaries=5,3", "rise"],
        ),
        (
            {"schedule": "piecewise", "schedule_boundaries": (5, 5)},
            ["--schedule_boundaries=5,5", "rise"],
        ),
        (
            {"reduce_lr_patience": 2, "schedule": "cosine"},
            ["--reduce_lr_patience=2", "--schedule=cosine"],
        ),
        (
            {"reduce_lr_patience": 2, "warmup_steps": 9},
            ["--reduce_lr_patience=2", "--warmup_steps=9"],
        ),
        (
            {"jit_compile": "auto", "deterministic": True},
            ["--jit_compile=auto", "--deterministic", "--jit_compile=false"],
        ),
        ({"profile_steps": "100"}, ["--profile_steps=100", "START:STOP"]),
        ({"profile_steps": "9:9"}, ["--profile_steps=9:9", "START:STOP"]),
        ({"profile_steps": "-1:9"}, ["--profile_steps=-1:9", "START:STOP"]),
        ({"loop": "fit", "clip_norm": 1.0}, ["--clip_norm=1.0", "--loop=fit", "--loop=tape"]),
        ({"loop": "fit", "accumulation_steps": 2}, ["--accumulation_steps=2", "--loop=tape"]),
        ({"loop": "fit", "jit_compile": "auto"}, ["--jit_compile=auto", "--loop=tape"]),
        (
            {"loop": "fit", "checkpoint_every_steps": 5},
            ["--checkpoint_every_steps=5", "--loop=tape"],
        ),
        ({"task": "image_clasification"}, ["--task=image_clasification", "image_classification?"]),
        ({"task": "no.such.module"}, ["--task=no.such.module", "no module"]),
        ({"task": "json"}, ["--task=json", "image_classification"]),
        ({"task": "os.path"}, ["--task=os.path", "no Task"]),
        ({"task": ""}, ["--task=", "image_classification"]),
        ({"task": ".made"}, ["--task=.made"]),
        ({"task": "tests..made"}, ["--task=tests..made"]),
        ({"task": "tests."}, ["--task=tests."]),
        ({"task": "made task"}, ["--task=made task", "image_classification"]),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        configure(**values)
    text = str(refused.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_every_keras_optimizer_has_a_name_or_a_reason() -> None:
    import keras

    from trainer.optimizer import CLASSES

    assert set(config.OPTIMIZERS) == set(CLASSES)
    public = {
        kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
    }
    # the base, a wrapper for float16 (the step has its own), one for several optimizers, and one
    # whose evaluation weights are not its training weights
    reasons = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "ScheduleFreeAdamW"}
    assert {kind.__name__ for kind in public - set(CLASSES.values())} == reasons
