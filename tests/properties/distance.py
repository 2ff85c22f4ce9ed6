"""How far two sets of variables are from each other."""

from __future__ import annotations

import numpy as np

Weights = dict[str, np.ndarray]


def distance(one: Weights, other: Weights) -> tuple[float, str]:
    """The largest difference, and the variable that has it.

    Relative to the largest element of the variable; of an optimizer's slots, to the largest of
    their kind, since a slot holds sums of numbers of that size, which may cancel. 0.0 means equal
    to the bit; what is not finite is infinitely far.
    """
    assert one.keys() == other.keys()
    sizes: dict[str, float] = {}
    for name, value in one.items():
        sizes[_kind(name)] = max(sizes.get(_kind(name), 0.0), float(np.max(np.abs(value))))
    worst = (0.0, "")
    for name in one:
        a, b = np.asarray(one[name], np.float64), np.asarray(other[name], np.float64)
        assert a.shape == b.shape, name
        if one[name].tobytes() == other[name].tobytes():
            continue
        relative = float(np.max(np.abs(a - b))) / (sizes[_kind(name)] or 1.0)
        worst = max(worst, (relative if np.isfinite(relative) else np.inf, name))
    return worst


def _kind(name: str) -> str:
    return name.rpartition("_")[2] if name.startswith("optimizer/") else name
