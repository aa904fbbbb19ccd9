"""A broker inside the process, for `gateway demo`: the one file that imports amqtt.

It is for demonstrations on one machine: it listens on loopback only, without TLS or accounts, and
keeps sessions only in memory. amqtt forgets the session of a client without a user name as soon as
it disconnects, so clients of the demo give one (any will do).
"""

import asyncio
import logging
import socket
from types import TracebackType
from typing import Any, Self

from amqtt.broker import Broker
from amqtt.errors import BrokerError

from gateway.core.errors import GatewayError

HOST = "127.0.0.1"
# Stopping takes some milliseconds; this is for a machine under load.
STOP_TRIES = 50
STOP_TRY_S = 0.2


class BrokerFailed(GatewayError, OSError):
    """The embedded broker cannot be started."""

    hint = "Is the port taken by another broker?"


class EmbeddedBroker:
    """An MQTT 3.1.1 broker on loopback; `port` 0 takes a free one. Use it as a context."""

    def __init__(self, port: int = 0) -> None:
        self._wanted = port
        self.port = port
        self._broker: Broker | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Raises `BrokerFailed`. After a `stop` it takes the same port again."""
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self.port = self.port or _free_port()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}
                },
            }
        )
        try:
            await broker.start()
        except BrokerError as error:
            raise BrokerFailed(f"{HOST}:{self.port}: {error}") from error
        self._broker = broker

    async def stop(self) -> None:
        """Hang up on everyone; safe to call twice."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        handlers = [handler for _, handler in broker.sessions.values()]
        stopping = asyncio.ensure_future(broker.shutdown())
        for _ in range(STOP_TRIES):
            # amqtt cancels its readers, but their `wait_for` can swallow that on Python 3.11: then
            # only the end of the connection ends them.
            for handler in handlers:
                _hang_up(handler)
            await asyncio.wait([stopping], timeout=STOP_TRY_S)
            if stopping.done():
                break
        else:
            stopping.cancel()
            raise BrokerFailed(f"{HOST}:{self.port}: the broker does not stop", hint="Start anew.")
        await stopping


def _hang_up(handler: Any) -> None:
    writer = getattr(handler.writer, "_writer", None)
    if isinstance(writer, asyncio.StreamWriter):
        writer.transport.abort()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
