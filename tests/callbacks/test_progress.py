"""Lines where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.callbacks.progress import Progress, _span, ordered
from trainer.meters import Meters

LOGS = {"accuracy": 0.5, "loss": 1.25, "val_accuracy": 0.25, "val_loss": 2.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(style: str, epochs: int = 2, calls: int = 3) -> Progress:
    progress = Progress(Meters(examples_per_second=1234.4), style)
    progress.set_params({"epochs": epochs, "steps": 2 * calls})
    for epoch in range(epochs):
        progress.on_epoch_begin(epoch)
        for call in range(calls):
            progress.on_train_batch_end(2 * call + 1, {"loss": 1.0})
            if progress.bar is not None:
                assert progress.bar.n == 2 * call + 2
                assert progress.bar.total == 2 * calls
        progress.on_epoch_end(epoch, LOGS)
    progress.on_train_end()
    return progress


@pytest.mark.parametrize("style", ["auto", "lines"])
def test_one_line_an_epoch_where_there_is_no_terminal(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", written := io.StringIO())
    run(style)
    lines = written.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    metrics = "loss 1.2500  accuracy 0.5000  val_loss 2.0000  val_accuracy 0.2500"
    for line in lines:
        assert re.fullmatch(
            rf"epoch \d/2  {metrics}  1,234 examples/s  \d+\.\d s, \d+\.\d s left", line
        )
    assert lines[-1].endswith(" 0.0 s left")
    assert "\r" not in written.getvalue()


@pytest.mark.parametrize("style", ["auto", "bar"])
def test_a_bar_on_a_terminal(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", written := Terminal())
    progress = run(style)
    text = written.getvalue()
    assert "epoch 1/2:" in text and "epoch 2/2:" in text and "step" in text
    assert len(re.findall(r"epoch \d/2  loss", text)) == 2  # the lines stay
    assert progress.bar is None


def test_lines_can_be_wanted_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", written := Terminal())
    run("lines")
    assert "\r" not in written.getvalue()


@given(st.permutations(list(LOGS)))
def test_metrics_have_one_order(names: list[str]) -> None:
    """Training before validation, the loss first; whatever order the loop gives them in."""
    logs = ordered({name: LOGS[name] for name in names})
    assert logs == LOGS
    assert [name.removeprefix("val_") for name in logs] == ["loss", "accuracy"] * 2


@given(st.floats(min_value=0, max_value=1e6))
def test_spans_tell_the_time(seconds: float) -> None:
    text = _span(seconds)
    if text.endswith(" s"):
        assert float(text[:-2]) == pytest.approx(seconds, abs=0.051)
    else:
        hours, minutes, rest = map(int, text.split(":"))
        assert minutes < 60 and rest < 60
        assert 3600 * hours + 60 * minutes + rest == pytest.approx(seconds, abs=0.51)


@given(
    epochs=st.integers(2, 9),
    epoch=st.integers(0, 7),
)
def test_the_time_left_is_that_of_the_epochs_left(epochs: int, epoch: int) -> None:
    epoch = min(epoch, epochs - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", written := io.StringIO())
        clock = iter([100.0, 107.0])
        patch.setattr("time.perf_counter", lambda: next(clock))
        progress = Progress(Meters(), "lines")
        progress.set_params({"epochs": epochs, "steps": 1})
        progress.on_epoch_begin(epoch)
        progress.on_epoch_end(epoch, {})
    left = 7.0 * (epochs - epoch - 1)
    assert written.getvalue().rstrip().endswith(f"7.0 s, {_span(left)} left")
