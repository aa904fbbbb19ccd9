"""A GPIO chip and a systemd on paper, faithful where relays feel it.

`PaperKernel` keeps the lines of one chip in this process and serves them on a Unix socket. A
request is a connected socket: exactly as in the kernel, the line is free when the last duplicate of
that descriptor is closed, in whichever process, and a killed child closes its own. What happens to
the levels is what was measured on real /dev/gpiochip lines: "persist" keeps a released output,
"strict" turns it into an input; a claim as-is moves nothing; an output without a level drives low.
"""

import contextlib
import errno
import json
import os
import selectors
import socket
import threading
from pathlib import Path
from typing import Self

from hardware.relays.lines import Bias, Direction, LineConfig, LineInfo

_MESSAGE_MAX = 4096


class Line:
    """One line, and every level that a relay on it has felt."""

    def __init__(self, boot_pull: bool) -> None:
        self.boot_pull = boot_pull
        self.contact: bool | None = None  # what the world outside drives; None: nothing
        self.is_output = False
        self.driven = False
        self.bias: Bias | None = None
        self.consumer = ""
        self.used = False
        self.writable = False  # by its owner: an as-is claim may only read, even an output
        self.felt: list[tuple[str, bool]] = []
        self.feel()

    @property
    def level(self) -> bool:
        if self.is_output:
            return self.driven
        if self.contact is not None:
            return self.contact
        if self.bias in {Bias.UP, Bias.DOWN}:
            return self.bias is Bias.UP
        return self.boot_pull

    def feel(self) -> None:
        now = ("output" if self.is_output else "input", self.level)
        if not self.felt or self.felt[-1] != now:
            self.felt.append(now)


class PaperKernel:
    """The kernel's side. `with PaperKernel(path, strict=True) as kernel: ...`."""

    def __init__(
        self, path: Path, *, strict: bool = False, label="pinctrl-paper", lines=28
    ) -> None:
        self.path, self.strict, self.label = path, strict, label
        # BCM pins 0-8 are pulled up at boot, 9 and above down.
        self.lines = [Line(boot_pull=number <= 8) for number in range(lines)]
        self._owned: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._wake.send(b"q")
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._wake.close()
        self._selector.close()

    def line(self, offset: int) -> Line:
        """The line once every message and hang-up sent before this call has been dealt with."""
        self._wake.send(b"s")
        assert self._wake.recv(1) == b"s"
        return self.lines[offset]

    def reboot(self) -> None:
        """Every line is an input with its boot resistor again. Nothing may own one."""
        self.line(0)
        assert not self._owned
        for line in self.lines:
            line.is_output, line.bias = False, None
            line.feel()

    def _serve(self) -> None:
        while True:
            ready = [key.fileobj for key, _ in self._selector.select()]
            others = [one for one in ready if one is not self._woken]
            for one in others:
                self._accept() if one is self._listener else self._serve_one(one)
            if not others and self._woken in ready:  # only when all else is done
                if self._woken.recv(1) == b"q":
                    return
                self._woken.send(b"s")

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._selector.register(connection, selectors.EVENT_READ)

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            message = connection.recv(_MESSAGE_MAX)
        except ConnectionResetError:
            message = b""
        if not message:
            self._selector.unregister(connection)
            connection.close()
            self._release(connection)
            return
        try:
            answer = self._answer(connection, json.loads(message))
        except OSError as error:
            answer = {"errno": error.errno}
        with contextlib.suppress(BrokenPipeError):
            connection.send(json.dumps(answer).encode())

    def _release(self, connection: socket.socket) -> None:
        offset = self._owned.pop(connection, None)
        if offset is None:
            return
        line = self.lines[offset]
        line.used, line.writable, line.consumer = False, False, ""
        if self.strict:
            line.is_output, line.bias = False, None
        line.feel()

    def _answer(self, connection: socket.socket, message: dict) -> dict:
        match message["op"]:
            case "chip":
                return {"label": self.label, "lines": len(self.lines)}
            case "info":
                line = self._line(message["offset"])
                bias = line.bias and line.bias.value
                return {"info": [line.used, line.consumer, line.is_output, bias]}
            case "claim":
                line = self._line(message["offset"])
                if line.used:
                    raise OSError(errno.EBUSY, "busy")
                line.used, line.consumer = True, message["consumer"]
                self._owned[connection] = message["offset"]
                self._configure(line, message)
            case "level":
                return {"level": self._own(connection).level}
            case "set":
                line = self._own(connection)
                if not line.writable:
                    raise OSError(errno.EPERM, "not an output")
                line.driven = message["level"]
                line.feel()
            case "reconfigure":
                self._configure(self._own(connection), message)
        return {}

    def _own(self, connection: socket.socket) -> Line:
        if connection not in self._owned:
            raise OSError(errno.ENOTTY, "not a line request")
        return self.lines[self._owned[connection]]

    def _line(self, offset: int) -> Line:
        if not 0 <= offset < len(self.lines):
            raise OSError(errno.EINVAL, "no such line")
        return self.lines[offset]

    def _configure(self, line: Line, message: dict) -> None:
        direction = Direction(message["direction"])
        if direction is Direction.AS_IS:
            return
        if direction is Direction.OUTPUT:
            line.driven = bool(message["level"])  # none given: low, as in the kernel
        line.is_output = line.writable = direction is Direction.OUTPUT
        line.bias = Bias(message["bias"]) if message["bias"] else None
        line.feel()


class PaperLines:
    """`LineRequests` over a `PaperKernel`, from any process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        chip = self._ask_chip({"op": "chip"})
        self.label, self.line_count = chip["label"], chip["lines"]

    def info(self, offset: int) -> LineInfo:
        used, consumer, is_output, bias = self._ask_chip({"op": "info", "offset": offset})["info"]
        return LineInfo(used, consumer, is_output, Bias(bias) if bias else None)

    def claim(self, offset: int, consumer: str, config: LineConfig) -> int:
        connection = self._connection()
        try:
            _ask(
                connection.fileno(),
                {"op": "claim", "offset": offset, "consumer": consumer, **_plain(config)},
            )
        except OSError:
            connection.close()
            raise
        return connection.detach()

    def level(self, request: int) -> bool:
        return _ask(request, {"op": "level"})["level"]

    def set_level(self, request: int, level: bool) -> None:
        _ask(request, {"op": "set", "level": level})

    def reconfigure(self, request: int, config: LineConfig) -> None:
        _ask(request, {"op": "reconfigure", **_plain(config)})

    def close(self) -> None:
        pass

    def _ask_chip(self, message: dict) -> dict:
        with self._connection() as connection:
            return _ask(connection.fileno(), message)

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(self.path))
        return connection


def _plain(config: LineConfig) -> dict:
    return {
        "direction": config.direction.value,
        "bias": config.bias and config.bias.value,
        "level": config.level,
    }


def _ask(fd: int, message: dict) -> dict:
    os.write(fd, json.dumps(message).encode())
    answer = json.loads(os.read(fd, _MESSAGE_MAX))
    if "errno" in answer:
        raise OSError(answer["errno"], os.strerror(answer["errno"]))
    return answer


class PaperSystemd:
    """systemd's descriptor store: keeps what FDSTORE=1 sends, hands it to the next start."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.stored: list[tuple[str, int]] = []
        self.seen: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def read(self) -> None:
        """Deal with every message that waits."""
        while True:
            try:
                message, fds, _flags, _address = socket.recv_fds(self._socket, 4096, 8)
            except BlockingIOError:
                return
            text = message.decode()
            self.seen.append(text)
            words = dict(line.split("=", 1) for line in text.splitlines())
            if words.get("FDSTORE") == "1":
                self.stored += [(words.get("FDNAME", "stored"), fd) for fd in fds]
            if words.get("FDSTOREREMOVE") == "1":
                self.drop(words["FDNAME"])

    def names(self) -> list[str]:
        self.read()
        return [name for name, _fd in self.stored]

    def drop(self, name: str | None = None) -> None:
        """Close the descriptors of one name, or all: `systemctl stop`."""
        for stored in list(self.stored):
            if name in {None, stored[0]}:
                os.close(stored[1])
                self.stored.remove(stored)

    def close(self) -> None:
        self.read()
        self.drop()
        self._socket.close()
