"""How long to leave a silent meter alone, and how much of the line all silent meters may cost.

Rules of this file: pure; time is handed in.
"""

from dataclasses import dataclass

# Half a second, doubled up to ten, three times; then minutes. A meter that somebody switches back
# on after a day is found within five minutes. The bus adds what a late reply may need.
DELAYS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 30.0, 60.0, 120.0, 240.0, 300.0)

# One failure is noise, two in a row are a meter that does not answer.
SILENT_AFTER = 2


@dataclass(slots=True)
class Backoff:
    """Delay after each failure in a row."""

    failures: int = 0

    @property
    def silent(self) -> bool:
        """Whether it has failed often enough that the failures are no accident of one frame."""
        return self.failures >= SILENT_AFTER

    def fail(self) -> float:
        """Count a failure; gives the delay until the next try, in seconds."""
        delay_s = DELAYS_S[min(self.failures, len(DELAYS_S) - 1)]
        self.failures += 1
        return delay_s

    def succeed(self) -> None:
        """Start again from the shortest delay."""
        self.failures = 0


class SilenceBudget:
    """The share of a line's time that waiting for silent meters may take.

    A bucket that fills with `share` of the time that passes, up to `burst_s`. However many meters
    are silent, the others keep the rest of the line.
    """

    def __init__(self, *, share: float = 0.02, burst_s: float = 0.1) -> None:
        self._share = share
        self._burst_s = burst_s
        self._left_s = burst_s
        self._at_s: float | None = None

    def spend(self, now_s: float, cost_s: float) -> None:
        """Take what one vain try has cost; the bucket may go below nought."""
        self._fill(now_s)
        self._left_s -= cost_s

    def ready_in_s(self, now_s: float) -> float:
        """0.0 when a try is allowed now, else how long until it is."""
        self._fill(now_s)
        return 0.0 if self._left_s > 0 else -self._left_s / self._share + 1e-3

    def _fill(self, now_s: float) -> None:
        if self._at_s is not None:
            gain_s = (now_s - self._at_s) * self._share
            self._left_s = min(self._burst_s, self._left_s + gain_s)
        self._at_s = now_s
