"""Lines that outlive the process: claimed as they are, kept by systemd, adopted at the next start.

| event                      | a driven line                                                     |
|----------------------------|-------------------------------------------------------------------|
| first claim                | the level found is read, then driven: no edge                     |
| exit, exception, SIGTERM,  | under systemd: held by the stored request; without: held by       |
| kill -9                    | kernels that keep outputs (Raspberry Pi OS), dropped by others    |
| start after those          | adopted, or claimed as it is: no edge                             |
| systemctl stop             | as without systemd: the store is emptied                          |
| reboot, power loss         | an input with the board's boot resistor, until it is claimed      |

A *momentary* line (a coil that must not stay on) is never given to systemd.

Rules of this file: no gpiozero, no device; the kernel comes through `LineRequests`, systemd through
`hardware.systemd`. A line is never turned into an input or released because somebody closed it,
unless it was an input.
"""

import errno
import logging
import os
import re
from collections.abc import Mapping, Sequence

from hardware import systemd
from hardware.relays.lines import AS_IS, Bias, Direction, LineRequests, output, pulled_input

CONSUMER = "prepaid-gateway"  # what `gpioinfo` shows, and how an inherited request is recognised

_log = logging.getLogger(__name__)


class HeldLine:
    """One line that this process owns. Made by `LineKeeper.line`."""

    def __init__(self, keeper: "LineKeeper", offset: int, request: int, *, stored: bool) -> None:
        info = keeper.lines.info(offset)
        self.offset = offset
        self.direction = Direction.OUTPUT if info.is_output and stored else Direction.AS_IS
        self.bias = info.bias
        self.request = request  # the descriptor; -1 after `close`
        self._keeper = keeper
        self._stored = stored

    @property
    def is_output(self) -> bool:
        """Whether this process drives the line."""
        return self.direction is Direction.OUTPUT

    def level(self) -> bool:
        """The level at the pin now."""
        return self._keeper.lines.level(self.request)

    def drive(self, level: bool) -> None:
        """Drive `level`; from the first moment if the line was no output before."""
        if self.is_output:
            self._keeper.lines.set_level(self.request, level)
        else:
            self._keeper.lines.reconfigure(self.request, output(level))
            self.direction, self.bias = Direction.OUTPUT, None
        self._store()

    def hold(self) -> None:
        """Drive the level that the line shows: it becomes an output without an edge."""
        if not self.is_output:
            self.drive(self.level())

    def listen(self, bias: Bias) -> None:
        """Make the line an input with this resistor."""
        self._keeper.lines.reconfigure(self.request, pulled_input(bias))
        self.direction, self.bias = Direction.INPUT, bias
        self._unstore()

    def close(self) -> None:
        """Close this process's request. A driven line stays where its keepers leave it."""
        if self.request >= 0:
            os.close(self.request)
        self.request = -1

    def _store(self) -> None:
        if self._stored or self._keeper.is_momentary(self.offset):
            return
        self._stored = self._keeper.store(self.offset, self.request)

    def _unstore(self) -> None:
        if self._stored:
            self._keeper.forget(self.offset)
        self._stored = False


class LineKeeper:
    """The lines of one chip that this process owns, and systemd's copies of their requests."""

    def __init__(
        self,
        lines: LineRequests,
        *,
        inherited: Sequence[systemd.PassedFd] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Keep lines of `lines`; `inherited` and `environ` are systemd's unless a test plays it."""
        self.lines = lines
        self._environ = environ
        self._owned: dict[int, HeldLine] = {}
        self._momentary: set[int] = set()
        self._inherited: dict[str, list[int]] = {}
        passed = systemd.received_fds(environ) if inherited is None else inherited
        for one in passed:
            self._inherited.setdefault(one.name, []).append(one.fd)

    def line(self, offset: int) -> HeldLine:
        """The line, owned by this process from now on. Raises OSError; EBUSY when it is taken."""
        if offset not in self._owned:
            self._owned[offset] = self._adopt(offset) or self._claim(offset)
        return self._owned[offset]

    def momentary(self, offset: int) -> None:
        """Never give this line to systemd; take back what an earlier version gave."""
        self._momentary.add(offset)
        if self.stored_name(offset) in self._inherited:
            self.forget(offset)

    def is_momentary(self, offset: int) -> bool:
        """Whether the line must not outlive the process."""
        return offset in self._momentary

    def release(self, offset: int) -> None:
        """Stop owning a line that is not driven; a driven one stays owned until the end."""
        line = self._owned.get(offset)
        if line is not None and not line.is_output:
            line.close()
            del self._owned[offset]

    def stored_name(self, offset: int) -> str:
        """The name of the line's request in systemd's store: chip and line."""
        chip = re.sub(r"[^A-Za-z0-9_.-]", "_", self.lines.label)
        return f"gpio.{chip}.{offset}"

    def store(self, offset: int, request: int) -> bool:
        """Give systemd a copy of the request. Returns whether it was sent."""
        sent = systemd.store_fd(request, self.stored_name(offset), environ=self._environ)
        under_systemd = "NOTIFY_SOCKET" in (os.environ if self._environ is None else self._environ)
        if under_systemd and not sent:
            _log.warning("systemd did not take GPIO%d: a crash may let its relay drop", offset)
        return sent

    def forget(self, offset: int) -> None:
        """Ask systemd to drop its copies of the request."""
        systemd.remove_fd(self.stored_name(offset), environ=self._environ)

    def close(self) -> None:
        """Close this process's requests and the chip; systemd's copies stay."""
        for line in self._owned.values():
            line.close()
        self._owned.clear()
        self.lines.close()

    def _claim(self, offset: int) -> HeldLine:
        request = self.lines.claim(offset, CONSUMER, AS_IS)
        return HeldLine(self, offset, request, stored=False)

    def _adopt(self, offset: int) -> HeldLine | None:
        """The line through a request that an earlier start left with systemd, if it still works."""
        adopted: HeldLine | None = None
        dead = 0
        for request in self._inherited.pop(self.stored_name(offset), []):
            if adopted is None and self._works(offset, request):
                adopted = HeldLine(self, offset, request, stored=True)
            else:
                os.close(request)
                dead += 1
        if dead:  # the store knows names only: empty it, and give back the one that works
            self.forget(offset)
            if adopted is not None and not self.is_momentary(offset):
                self.store(offset, adopted.request)
        return adopted

    def _works(self, offset: int, request: int) -> bool:
        """Whether an inherited descriptor still owns this line of this chip."""
        try:
            self.lines.level(request)
            info = self.lines.info(offset)
        except OSError as error:
            _log.warning("GPIO%d: a stored request is dead: %s", offset, error)
            return False
        return info.used and info.consumer == CONSUMER


def is_busy(error: OSError) -> bool:
    """Whether a claim failed because somebody owns the line."""
    return error.errno == errno.EBUSY
