"""What happened, in compact lines, and a hash over all of them: the same seed, the same hash.

Rules of this file: a line holds no memory address, no path, no key and nothing of the real world.
Only the newest lines are kept; the hash covers all.
"""

import hashlib
from collections import Counter, deque

KEPT_LINES = 4000


class Trace:
    """Lines by virtual time. `faults` counts what was injected, by kind."""

    def __init__(self, *, echo: bool = False) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.faults: Counter[str] = Counter()
        self.origin_s = 0.0
        self.now_s = 0.0
        self._hash = hashlib.sha256()
        self._echo = echo

    def say(self, subject: str, text: str) -> None:
        """One line."""
        line = f"{_time(self.now_s - self.origin_s)} {subject:<10} {text}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.lines.append(line)
        if self._echo:
            print(line)  # noqa: T201 - `--verbose` was asked for

    def fault(self, kind: str, text: str = "", count: int = 1) -> None:
        """One injected fault."""
        self.faults[kind] += count
        self.say("FAULT", f"{kind} {text}".rstrip())

    @property
    def digest(self) -> str:
        """16 hex digits over all lines so far."""
        return self._hash.hexdigest()[:16]

    def about(self, words: tuple[str, ...], limit: int = 60) -> list[str]:
        """The newest lines that matter to somebody: those that name one of `words`, and faults."""
        fits = [line for line in self.lines if any(word in line for word in words)]
        return fits[-limit:]


def _time(seconds: float) -> str:
    day, rest = divmod(seconds, 86400)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"{int(day):4d}d {int(hour):02d}:{int(minute):02d}:{second:06.3f}"
