"""The language model on any number of replicas, against fit, and in half precision.

Documents are packed into blocks, blocks are moved, the last one is partial and so is the last
batch: 33 blocks of 8 tokens in batches of 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

BLOCK = 8
TASK: dict[str, Any] = dict(
    task="language_model", tokens="characters", block_size=BLOCK, layers=2, heads=2, width=16,
    optimizer="sgd", learning_rate=0.3, validation_split="test", eval_batch_size=8,
)  # fmt: skip


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory):
    """Makes a file of so many tokens: documents of about six letters."""
    folder = tmp_path_factory.mktemp("text")

    def write(tokens: int) -> str:
        rng = np.random.default_rng(0)
        path = Path(folder) / f"{tokens}.txt"
        path.write_bytes(bytes(b"\0abcdef"[i] for i in rng.integers(0, 7, tokens)))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("flags", "replicas"),
    [
        (dict(), 2),
        (dict(clip_norm=0.1, remat=True), 4),
        pytest.param(dict(optimizer="momentum", accumulation_steps=2), 4, marks=pytest.mark.slow),
        pytest.param(dict(optimizer="adamw", learning_rate=0.001), 2, marks=pytest.mark.slow),
    ],
)
def test_packs_and_masks_do_not_depend_on_the_replicas(run, agree, text, flags, replicas):
    """Tolerance: attention's sums over other batches round differently, a few 1e-7 a step."""
    flags = TASK | flags | dict(text=text(292), epochs=2)
    one, several = run("trained", 1, **flags), run("trained", replicas, **flags)
    assert one["step"] == 10
    agree(one, several, 2e-5)
    for name, values in one["history"].items():
        assert several["history"][name] == pytest.approx(values, rel=2e-6), name


@pytest.mark.parametrize("replicas", [1, 2])
def test_equal_to_fit_to_rounding(run, agree, text, replicas):
    """On 385 training tokens: 48 whole blocks, however they are moved, in packs as well.

    The positions' gradient names rows repeatedly, and fit adds them up in another order: 5e-7. Its
    Adam squares them one by one, which is wrong (test_fit.py, "repeated rows").
    """
    flags = TASK | dict(text=text(428), learning_rate=0.01)
    tape, fit = (run("trained", replicas, loop=loop, **flags) for loop in ("tape", "fit"))
    agree(tape, fit, 2e-6)
    assert tape["step"] == fit["step"] == 12
    exact = {"loss", "perplexity", "val_perplexity"} | ({"val_loss"} if replicas == 1 else set())
    for name in exact:  # fit averages the replicas' losses, of 24 and of 18 targets
        assert tape["history"][name] == pytest.approx(fit["history"][name], rel=2e-6), name
    assert tape["history"].keys() == fit["history"].keys()


def test_each_validation_token_counts_once(run, text):
    """The same in batches of any size, though the last block is partial."""
    flags = TASK | dict(text=text(428), train_steps=1, steps_per_epoch=1)
    whole, parts = (run("trained", 1, **flags | dict(eval_batch_size=n)) for n in (8, 1))
    for name in ("val_loss", "val_perplexity"):
        assert parts["history"][name] == pytest.approx(whole["history"][name], rel=1e-6)
    assert whole["history"]["val_perplexity"] == pytest.approx(np.exp(whole["history"]["val_loss"]))
    assert (whole["data"]["test"]["text"][:, 1 : BLOCK + 1] >= 0).sum() == 428 - 385 - 1


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_it_trains_in_half_precision(run, text, precision):
    """The losses are those of float32, to three bits less than the format has."""
    flags = TASK | dict(text=text(292))
    whole, half = (run("trained", 1, **flags, precision=p) for p in ("float32", precision))
    assert half["skipped"] == 0
    rounding = {"mixed_bfloat16": 2**-5, "mixed_float16": 2**-8}[precision]
    for name in ("loss", "val_loss"):
        assert half["history"][name] == pytest.approx(whole["history"][name], rel=rounding)
