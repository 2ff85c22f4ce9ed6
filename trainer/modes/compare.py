"""`--mode=compare --runs=A,B`: where two runs part, and what was different between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer import errors
from trainer.config import Config
from trainer.recorded import Recorded, read

# Flags that say where things lie and what is shown: no weight depends on them.
WITHOUT_EFFECT = {
    "mode", "workdir", "overwrite", "runs", "tolerance", "data_dir", "from_files", "tensorboard",
    "log_every_steps", "profile_steps", "progress", "keep_last", "keep_best", "best_mode",
    "checkpoint_every_epochs", "checkpoint_every_steps", "steps_per_loop", "memory_budget_gib",
    "memory_growth", "logical_device_memory_mib",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The first point at which a metric differs.

    Attributes:
        step: Where.
        metric: Which one.
        values: In both runs.
        equal_until: The last step before at which all metrics were equal, or None.
    """

    step: int
    metric: str
    values: tuple[float, float]
    equal_until: int | None

    @property
    def share(self) -> float:
        """The difference as a share of the larger value."""
        return _share(*self.values)


def run(config: Config) -> int:
    """Prints the comparison, and draws it.

    Raises:
        BadInput: Not two workdirs of runs.
    """
    if len(config.run.runs) != 2:
        raise errors.BadInput(
            f"--runs={','.join(config.run.runs)} names {len(config.run.runs)} workdirs; "
            "--mode=compare wants two: --runs=A,B."
        )
    one, other = (read(workdir) for workdir in config.run.runs)
    parted = divergence(one, other, config.run.tolerance)
    lines = [f"A  {one.workdir}", f"B  {other.workdir}", ""]
    lines += _differing(differences(one.record, other.record))
    lines += _ends(one.record, other.record)
    lines += _verdict(one, other, parted)
    picture = other.workdir / "comparison.png"
    if draw(one, other, picture):
        lines.append(f"The curves are in {picture}.")
    print("\n".join(lines), flush=True)
    equal = parted is None and _same_end(one.record, other.record, config.run.tolerance)
    return errors.OK if equal else errors.FINDING


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What the two records say differently: name and both values, the likeliest causes first.

    Data come first, then flags that decide the weights (the task's own before the others), then
    devices, versions and the revision of the code.
    """
    pairs: list[tuple[str, Any, Any]] = [("data", one["data"]["name"], other["data"]["name"])]
    for split in sorted({*one["data"]["sha256"], *other["data"]["sha256"]}):
        pairs.append((f"{split} data", *(r["data"]["sha256"].get(split) for r in (one, other))))
    flags = {*one["flags"], *other["flags"]} - WITHOUT_EFFECT
    known = [name for record in (one, other) for name in record["flags"]]
    # the task's own options stand last in a record
    for name in sorted(flags, key=lambda name: (name != "seed", -known.index(name))):
        pairs.append((f"--{name}", one["flags"].get(name), other["flags"].get(name)))
    pairs.append(("replicas", len(one["devices"]), len(other["devices"])))
    for part in ("versions", "machine"):
        for name in sorted({*one[part], *other[part]}):
            pairs.append((name, one[part].get(name), other[part].get(name)))
    pairs.append(("git revision", one["git_revision"], other["git_revision"]))
    return [pair for pair in pairs if pair[1] != pair[2]]


def divergence(one: Recorded, other: Recorded, tolerance: float = 0.0) -> Divergence | None:
    """The first step at which a metric that both runs wrote differs.

    Args:
        one: A run.
        other: Another.
        tolerance: The share of the larger value up to which two values are equal.
    """
    points = sorted(
        (step, name)
        for name in one.series.keys() & other.series.keys()
        for step in one.series[name].keys() & other.series[name].keys()
    )
    before: int | None = None
    for position, (step, name) in enumerate(points):
        values = one.series[name][step], other.series[name][step]
        if _share(*values) > tolerance:
            earlier = [s for s, _ in points[:position] if s < step]
            before = earlier[-1] if earlier else None
            return Divergence(step, name, values, before)
    return None


def draw(one: Recorded, other: Recorded, picture: Path) -> bool:
    """Curves of both runs, one panel a metric, and below each the difference.

    Returns:
        Whether there was anything to draw.
    """
    both = one.series.keys() & other.series.keys()
    names = sorted(n for n in both if n.startswith(("batch/", "val_")))[:6]
    if not names:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(names), 5), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, sharex="col", height_ratios=(2, 1))
    for column, name in enumerate(names):
        curves, gap = panels[:, column]
        for run, style in ((one, "-"), (other, "--")):
            steps = sorted(run.series[name])
            values = [run.series[name][s] for s in steps]
            curves.plot(steps, values, style, label=str(run.workdir))
        common = sorted(one.series[name].keys() & other.series[name].keys())
        gap.plot(common, [other.series[name][s] - one.series[name][s] for s in common], "k")
        curves.set_title(name)
        gap.set_xlabel("step")
    panels[0, 0].legend()
    panels[1, 0].set_ylabel("B - A")
    figure.savefig(picture, dpi=100)
    return True


def _same_end(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> bool:
    """Steps, last metrics and, where nothing is tolerated, weights."""
    if one["step"] != other["step"] or one["final"].keys() != other["final"].keys():
        return False
    if not tolerance and one["weights_sha256"] != other["weights_sha256"]:
        return False
    return all(_share(value, other["final"][k]) <= tolerance for k, value in one["final"].items())


def _share(one: float, other: float) -> float:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other))


def _differing(found: list[tuple[str, Any, Any]]) -> list[str]:
    if not found:
        return ["Nothing that decides the weights was different.", ""]
    rows = [(name, _short(a), _short(b)) for name, a, b in found]
    return ["What was different, the likeliest cause first:", *_table(("", "A", "B"), rows), ""]


def _ends(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = [("steps", str(one["step"]), str(other["step"]), "")]
    for name in sorted({*one["final"], *other["final"]}):
        a, b = (r["final"].get(name, math.nan) for r in (one, other))
        rows.append((name, f"{a:.6g}", f"{b:.6g}", f"{b - a:+.3g}"))
    digests = (_short(r["weights_sha256"]) for r in (one, other))
    rows.append(("weights", *digests, ""))
    return ["How they ended:", *_table(("", "A", "B", "B - A"), rows), ""]


def _verdict(one: Recorded, other: Recorded, parted: Divergence | None) -> list[str]:
    if parted is None:
        if not one.series.keys() & other.series.keys():
            return ["No courses to align: a run wrote no summaries (--tensorboard=false)."]
        digests = [r.record["weights_sha256"] for r in (one, other)]
        if digests[0] and digests[0] == digests[1]:
            return ["Equal: every metric, and every weight to the bit."]
        return ["Every metric is equal, within --tolerance, at the steps that both runs wrote."]
    since = "from the first point on"
    if parted.equal_until is not None:
        since = f"equal until step {parted.equal_until}"
    rounding = ", as rounding is" if parted.share < 1e-5 else ""
    a, b = parted.values
    return [
        f"They part at step {parted.step}: {parted.metric} is {a:.7g} in A and {b:.7g} in B "
        f"({parted.share:.1e} of it{rounding}); {since}."
    ]


def _short(value: Any) -> str:
    text = "-" if value is None else ",".join(map(str, value)) if _is_list(value) else str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    cells = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return [f"  {line.rstrip()}" for line in cells]
