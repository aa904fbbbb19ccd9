"""How much of the last minute a line was in use.

Rules of this file: pure; time is handed in. Memory is bounded: one figure for each second.
"""

from collections import deque

WINDOW_S = 60


class BusyShare:
    """Wire time over elapsed time, in the last minute or since the start if that is later."""

    def __init__(self) -> None:
        self._started_s = 0.0
        self._seconds: deque[tuple[int, float]] = deque()  # at most WINDOW_S + 1

    def start(self, now_s: float) -> None:
        """Begin to count."""
        self._started_s = now_s
        self._seconds.clear()

    def add(self, now_s: float, wire_s: float) -> None:
        """An exchange that needed `wire_s` on the line has ended."""
        second = int(now_s)
        if self._seconds and self._seconds[-1][0] == second:
            wire_s += self._seconds.pop()[1]
        self._seconds.append((second, wire_s))
        self._forget(now_s)

    def at(self, now_s: float) -> float:
        """The share of time in use, 0.0 to 1.0."""
        self._forget(now_s)
        elapsed_s = min(now_s - self._started_s, float(WINDOW_S))
        if elapsed_s <= 0:
            return 0.0
        return min(1.0, sum(wire_s for _, wire_s in self._seconds) / elapsed_s)

    def _forget(self, now_s: float) -> None:
        while self._seconds and self._seconds[0][0] < now_s - WINDOW_S:
            self._seconds.popleft()
