"""The commands' end of the local API: one call over the gateway's Unix socket.

Rules of this file: blocking and small, for it is on the path of every command; no asyncio.
"""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.cli.failure import EXIT_FAILED, EXIT_HARDWARE, EXIT_USAGE, Failure
from gateway.core.errors import DaemonUnreachable, GatewayError
from gateway.web import rpc

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
# A relay that does not obey is told three times, with pauses, before the gateway gives up.
ACT_TIMEOUT_S = 120.0

_EXIT_CODES = {
    rpc.INVALID_PARAMS: EXIT_USAGE,
    rpc.HARDWARE_ERROR: EXIT_HARDWARE,
}

OnProgress = Callable[[Mapping[str, Any]], None]


def answers(path: Path) -> bool:
    """Whether a gateway listens on this socket. Raises as `connected` if it may not be asked."""
    try:
        with connected(path):
            return True
    except DaemonUnreachable:
        return False


@contextlib.contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """A connection. Raises `DaemonUnreachable`, or `GatewayError` when it is not allowed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(path))
        except PermissionError as error:
            raise GatewayError(
                f"this user may not talk to the gateway on {path}",
                hint="Use sudo, or join the group that owns the socket and log in again.",
            ) from error
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise DaemonUnreachable(f"no gateway runs on {path}") from error
        except OSError as error:
            raise DaemonUnreachable(f"the gateway on {path} does not answer: {error}") from error
        yield connection


def call(
    path: Path,
    method: str,
    params: Mapping[str, Any],
    *,
    timeout_s: float,
    on_progress: OnProgress | None = None,
) -> Any:
    """One call and its answer. `timeout_s` is the longest silence that is borne.

    Raises `DaemonUnreachable` before, `GatewayError` when the answer does not come, `Failure` for
    an answer that says no.
    """
    given = {name: value for name, value in params.items() if value is not None}
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
    with connected(path) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.sendall(rpc.encode(request))
            for line in _lines(connection):
                message = json.loads(line)
                if message.get("method") == "progress":
                    if on_progress is not None:
                        on_progress(message["params"])
                    continue
                return _outcome(message)
        except TimeoutError as error:
            raise GatewayError(
                f"the gateway has not answered for {timeout_s:.0f} s",
                hint="It may still be at it: look with gateway status, before you try again.",
            ) from error
        except (OSError, ValueError) as error:
            raise GatewayError(f"the talk with the gateway broke off: {error}") from error
    raise GatewayError(
        "the gateway ended before it answered",
        hint="See why with: journalctl -u prepaid-gateway -e",
    )


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Whole lines as they come. Raises ValueError for one without an end."""
    pending = bytearray()
    while data := connection.recv(65536):
        start = len(pending)
        pending += data
        while (end := pending.find(b"\n", start)) >= 0:
            yield bytes(pending[:end])
            del pending[: end + 1]
            start = 0
        if len(pending) > rpc.MAX_REPLY_BYTES:
            raise ValueError(f"an answer is longer than {rpc.MAX_REPLY_BYTES} bytes")


def _outcome(message: Mapping[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message["result"]
    data = error.get("data") or {}
    raise Failure(
        error["message"],
        hint=data.get("hint", ""),
        exit_code=_EXIT_CODES.get(error["code"], EXIT_FAILED),
        kind=data.get("kind", ""),
    )
