"""How fast the tape loop is beside `model.fit()` and beside its own bare step.

    python -m benchmarks.throughput [--rounds=3] [--models dense convnet] [--json=FILE]

Each contender runs in a fresh process, in turns; what counts is the median over the rounds of the
ratio within a round, because a machine's speed drifts. Figures of two runs do not compare.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTENDERS = ("tape", "fit", "bare")
REPLICAS = (1, 2)
BATCH = 128


def measure(*arguments: str) -> dict[str, Any]:
    """What one contender's process says."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contender", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(model: str, replicas: int, rounds: int) -> dict[str, Any]:
    """All contenders on one model and number of replicas, in turns."""
    runs: list[dict[str, Any]] = []
    for number in range(rounds):
        order = CONTENDERS[number % 3 :] + CONTENDERS[: number % 3]
        runs.append({kind: measure(kind, model, str(replicas)) for kind in order})
    speed = {kind: [run[kind]["steps_per_second"] for run in runs] for kind in CONTENDERS}
    return {
        "model": model,
        "replicas": replicas,
        "tape_over_fit": _ratios(speed["tape"], speed["fit"]),
        "tape_over_bare": _ratios(speed["tape"], speed["bare"]),
        "examples_per_second": round(BATCH * statistics.median(speed["tape"])),
        "settings": {kind: runs[-1][kind].get("settings") for kind in CONTENDERS},
        "rounds": runs,
    }


def _ratios(above: list[float], below: list[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def table(results: list[dict[str, Any]], slope: float) -> str:
    """The figures for people."""
    lines = [
        "| model | replicas | tape / fit | tape / bare | examples/s | tape | fit |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        ratios = [
            f"{r[k]['median']:.2f} ({r[k]['least']:.2f} to {r[k]['most']:.2f})"
            for k in ("tape_over_fit", "tape_over_bare")
        ]
        cells = [r["model"], str(r["replicas"]), *ratios, f"{r['examples_per_second']:,}"]
        cells += [str(r["settings"]["tape"]), str(r["settings"]["fit"])]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines.append(
        f"Memory of the tape loop, steps 1,000 to 6,000: {slope:+.2f} MiB per 1,000 steps."
    )
    return "\n".join(lines)


def main() -> None:
    """Runs all cases and prints the table last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contender")
    parser.add_argument("--models", nargs="+", default=["dense", "convnet"], help="what to time")
    parser.add_argument("--json", type=Path, help="a file for machines")
    arguments = parser.parse_args()
    results = []
    for model, replicas in itertools.product(arguments.models, REPLICAS):
        results.append(compare(model, replicas, arguments.rounds))
        ratio = results[-1]["tape_over_fit"]["median"]
        print(f"{model}, {replicas} replicas: tape / fit {ratio:.2f}", file=sys.stderr)
    slope = measure("memory")["mib_per_1000_steps"]
    if arguments.json:
        content = {"results": results, "memory_mib_per_1000_steps": slope}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    print(table(results, slope))


if __name__ == "__main__":
    main()
