"""All targets, and the short way of running one: inputs changed by chance, by a seed."""

import time
import traceback

from tests.fuzz import commands, documents, messages, wire
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Target

TARGETS = (*wire.TARGETS, *messages.TARGETS, *documents.TARGETS, *commands.TARGETS)
SLOW_S = 5.0  # no input of a few kilobytes may keep anything busy for so long


def target_of(name: str) -> Target:
    """A target by its name."""
    return next(target for target in TARGETS if target.name == name)


def chance_run(
    target: Target, seed: int, *, cases: int = 10**12, budget_s: float = float("inf")
) -> tuple[int, str, bytes]:
    """Run until a case fails or the bound is met: (cases, what was wrong, the case)."""
    check, mutator = target.make(), Mutator(target.seeds, target.words, seed)
    end_s = time.monotonic() + budget_s
    for number in range(cases):
        data = target.seeds[number] if number < len(target.seeds) else mutator.next()
        before_s = time.monotonic()
        if before_s > end_s:
            return number, "", b""
        try:
            check(data)
        except Exception:  # noqa: BLE001 - whatever gets out is what is looked for
            return number + 1, traceback.format_exc(limit=-12), data
        took_s = time.monotonic() - before_s
        if took_s > SLOW_S:
            return number + 1, f"it took {took_s:.1f} s", data
    return cases, "", b""
