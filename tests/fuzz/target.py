"""What a fuzz target is: called with bytes, it raises exactly when something is wrong."""

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[bytes], None]


class Wrong(AssertionError):
    """A property does not hold; what the product itself lets out is as wrong."""


@dataclass(frozen=True, slots=True)
class Target:
    """`make` sets up what is tried and gives the check; `seeds` are valid inputs to begin from."""

    name: str
    make: Callable[[], Check]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()  # what to splice in
    cost: int = 1  # how much dearer a case is than the cheapest ones


def demand(holds: bool, what: str) -> None:
    """Raise `Wrong` unless it holds; unlike `assert`, also in optimised runs."""
    if not holds:
        raise Wrong(what)
