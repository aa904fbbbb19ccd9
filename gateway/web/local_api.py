"""The local API: the commands' way to the running gateway, over a Unix socket (see `rpc`).

Rules of this file:
- Whoever may open the socket may do everything: its mode is 0660, its folder says who that is.
- A line that makes no sense gets an error reply; nothing that comes over the socket ends the
  gateway, save a ledger found broken (`InvariantBroken`), which must.
- A client that goes away changes nothing of what it has asked for: calls on one connection run one
  after the other, and a call that was begun is finished. Only a scan stops: it moves nothing, and
  keeps the line from being polled.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.errors import GatewayError, InvariantBroken, StoreError
from gateway.web import rpc
from gateway.web.acting import Acting
from gateway.web.reading import READERS, read
from hardware.api import HardwareError

if TYPE_CHECKING:
    from gateway.app import App

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
# People at terminals and one or two pages; more at once is a script that forgets to close.
MAX_CONNECTIONS = 32
IDLE_S = 600.0  # a connection that asks nothing for so long is closed
TAKE_S = 30.0  # a client that does not read its answer for so long is let go
BACKLOG = 16
STOPPABLE = frozenset({"meter.scan"})


class _ClientGone(Exception):
    """The client went away during a call that may be stopped."""


class LocalApi:
    """Serves one `App` on its configuration's socket."""

    def __init__(self, app: "App") -> None:
        self._path = app.config.socket
        self._acting = Acting(app)
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled. Raises `StoreError` when the socket cannot be made."""
        try:
            await self._acting.lineman.lift_leftovers()
        except StoreError as error:  # a full card: the commands are needed all the more
            log.error("the lock of a relay test that did not end is left: %s", error)  # noqa: TRY400
        listener = bind(self._path)
        try:
            async with asyncio.TaskGroup() as group:

                def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    task = group.create_task(self._serve(reader, writer), name="local client")
                    self._open.add(task)
                    task.add_done_callback(self._open.discard)

                server = await asyncio.start_unix_server(
                    accept, sock=listener, limit=rpc.MAX_REQUEST_BYTES, backlog=BACKLOG
                )
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    server.close()
        finally:
            listener.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its connection to its end."""
        try:
            if len(self._open) > MAX_CONNECTIONS:
                busy = GatewayError("too many commands at once", hint="Try again in a moment.")
                await _send(writer, rpc.encode(rpc.error_message(None, busy)))
                return
            while line := await _next_line(reader, writer):
                await self._answer(line, writer)
        except (ConnectionError, _ClientGone):
            pass  # it went away; what it asked for is done or was stopped
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        request = rpc.Request(None, "")
        try:
            request = rpc.decode_request(line)
            result = await self._call(request, writer)
            reply = rpc.encode(rpc.result_message(request.id, result))
        except InvariantBroken as error:
            with contextlib.suppress(ConnectionError, _ClientGone):
                await _send(writer, rpc.encode(rpc.error_message(request.id, error)))
            raise
        except (GatewayError, HardwareError) as error:
            reply = rpc.encode(rpc.error_message(request.id, error))
        except (asyncio.CancelledError, _ClientGone):
            raise
        except Exception as error:
            log.exception("local call %s failed", request.method)
            reply = rpc.encode(rpc.error_message(request.id, error))
        if request.wants_answer:
            await _send(writer, reply)

    async def _call(self, request: rpc.Request, writer: asyncio.StreamWriter) -> Any:
        if request.method in READERS:
            return read(self._acting.source(), request.method, request.params)

        def on_progress(news: Mapping[str, Any]) -> None:
            if writer.is_closing():
                if request.method in STOPPABLE:
                    raise _ClientGone
                return
            writer.write(rpc.encode(rpc.progress_message(request.id, news)))

        return await self._acting.act(request.method, request.params, on_progress)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a reply. Raises `_ClientGone` for a client that does not take it."""
    writer.write(data)
    try:
        async with asyncio.timeout(TAKE_S):
            await writer.drain()
    except TimeoutError:
        writer.transport.abort()
        raise _ClientGone from None


async def _next_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The next request; empty when there will be none."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as rest:
        return rest.partial  # the last line may lack its end
    except asyncio.LimitOverrunError:
        too_long = rpc.RequestError(
            rpc.INVALID_REQUEST, f"a request is longer than {rpc.MAX_REQUEST_BYTES} bytes"
        )
        await _send(writer, rpc.encode(rpc.error_message(None, too_long)))
        return b""
    except TimeoutError:
        return b""


def bind(path: Path) -> socket.socket:
    """A listening-to-be socket at `path`; a stale one, on which nobody answers, is removed.

    Raises `StoreError` when somebody answers there, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Set before it has a name, so that at no moment more than these may open it.
            os.fchmod(listener.fileno(), SOCKET_MODE)
            listener.bind(str(path))
            path.chmod(SOCKET_MODE)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise StoreError(
            f"the socket {path} cannot be made: {error.strerror}",
            hint="Check [local] socket, and that this user may write to its folder.",
        ) from error
    return listener


def _clear(path: Path) -> None:
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise StoreError(
            f"{path} is in the way: it is not a socket", hint="Move it, or set [local] socket."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except TimeoutError:
            pass  # somebody is there, only busy
    raise StoreError(f"another gateway answers on {path}", hint="Stop it first.")
