"""When the state is saved, and the way out on a signal."""

from __future__ import annotations

import itertools
import signal
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.callbacks.saving import Saving
from trainer.config import Checkpoint
from trainer.data.plan import Schedule
from trainer.errors import PREEMPTED, Preempted


class Places:
    """Stands for `Checkpoints`: keeps where it was asked to save."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.saved: list[tuple[int, int, dict[str, float]]] = []

    def save(self, metrics: dict[str, float]) -> None:
        self.saved.append((self.state.step, self.state.epoch, metrics))


def make(schedule: Schedule, mid_epoch: bool = True, **flags: Any) -> tuple[Saving, Places]:
    state = types.SimpleNamespace(
        step=0, epoch=0, stopped=False, epoch_totals=None, callbacks={}, optimizers={}
    )
    places = Places(state)
    settings = Checkpoint(**flags)
    saving = Saving(places, state, [], settings, schedule.steps_per_epoch, mid_epoch)
    saving.set_model(types.SimpleNamespace(stop_training=False))
    epochs = -(-schedule.train_steps // schedule.steps_per_epoch)
    saving.set_params({"epochs": epochs})
    return saving, places


def drive(saving: Saving, schedule: Schedule, signal_at: int = -1) -> list[str]:
    """The hooks of a run, in order; a signal is raised just before the one of that number."""
    state, done = saving.state, []

    def call(hook: str, *arguments: Any) -> None:
        if len(done) == signal_at:
            signal.raise_signal(signal.SIGTERM)
        done.append(hook)
        getattr(saving, hook)(*arguments)

    saving.listen()
    saving.on_train_begin()
    for epoch in range(saving.params["epochs"]):
        first = epoch * schedule.steps_per_epoch
        call("on_epoch_begin", epoch)
        end = min(first + schedule.steps_per_epoch, schedule.train_steps)
        while state.step < end:
            state.step += schedule.to_boundary(state.step)
            call("on_train_batch_end", state.step - first - 1, {"loss": 1.0})
        call("on_test_batch_end", 0, {})
        call("on_epoch_end", epoch, {"val_loss": float(epoch)})
    saving.on_train_end()
    return done


schedules = st.builds(
    Schedule,
    steps_per_epoch=st.integers(1, 20),
    steps_per_loop=st.integers(1, 8),
    train_steps=st.integers(1, 60),
)


@given(schedule=schedules, every=st.integers(1, 4))
def test_epochs_are_saved_when_due_and_the_last_always(schedule: Schedule, every: int) -> None:
    saving, places = make(schedule, checkpoint_every_epochs=every)
    drive(saving, schedule)
    epochs = saving.params["epochs"]
    assert [epoch for _, epoch, _ in places.saved] == [
        e for e in range(1, epochs + 1) if e % every == 0 or e == epochs
    ]
    assert all(metrics == {"val_loss": epoch - 1.0} for _, epoch, metrics in places.saved)
    assert places.saved[-1][0] == schedule.train_steps


@given(schedule=schedules, due=st.integers(1, 30))
def test_no_more_steps_are_at_risk_than_asked_for(schedule: Schedule, due: int) -> None:
    """At most `--checkpoint_every_steps` and the call that reaches over it."""
    saving, places = make(schedule, checkpoint_every_steps=due)
    drive(saving, schedule)
    steps = [0] + [step for step, _, _ in places.saved]
    call = min(schedule.steps_per_loop, schedule.steps_per_epoch)
    assert all(b - a < due + call for a, b in itertools.pairwise(steps))
    assert steps == sorted(steps)


@given(schedule=schedules, at=st.integers(0, 80), mid_epoch=st.booleans())
def test_a_signal_ends_the_run_at_the_next_call(
    schedule: Schedule, at: int, mid_epoch: bool
) -> None:
    saving, places = make(schedule, mid_epoch)
    before = signal.getsignal(signal.SIGTERM)
    try:
        done = drive(saving, schedule, signal_at=at)
    except Preempted as stop:
        assert stop.exit_code == PREEMPTED
        assert "SIGTERM" in str(stop) and "the same command goes on" in str(stop)
        state = saving.state
        # fit goes on from an epoch's start only: what the last one saved stands
        own = state.step if mid_epoch else state.epoch * schedule.steps_per_epoch
        assert [s for s, _, _ in places.saved][-1:] == ([own] if own else [])
        said = f"step {own} " if mid_epoch else f"whole epochs, {state.epoch} so far"
        assert said in str(stop)
    else:
        # it came too late: the last epoch had ended but for its saving
        assert at >= len(done) - 1
        assert places.saved[-1][0] == schedule.train_steps
    finally:
        saving.release()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_handlers_stand_while_training_only(number: int) -> None:
    schedule = Schedule(steps_per_epoch=2, steps_per_loop=1, train_steps=2)
    saving, _ = make(schedule)
    before = signal.getsignal(number)
    saving.listen()
    saving.on_train_begin()
    assert signal.getsignal(number) == saving._heard
    saving.on_train_end()
    assert signal.getsignal(number) is before
