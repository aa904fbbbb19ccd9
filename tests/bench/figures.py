"""One figure: what was measured, beside the limit it is measured against."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its unit; `aim` is what we want, `limit` the physical bound beside it."""

    name: str
    value: float
    unit: str
    aim: str = ""
    limit: str = ""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median_and_p99(name: str, values_s: Sequence[float], aim: str, limit: str) -> list[Figure]:
    """Median and 99th percentile in ms."""
    return [
        Figure(f"{name}, median", statistics.median(values_s) * 1000, "ms", aim, limit),
        Figure(f"{name}, p99", percentile(values_s, 0.99) * 1000, "ms", aim, limit),
    ]
