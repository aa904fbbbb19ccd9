"""A broker inside the process, for `gateway demo`: the one file that imports amqtt.

It is for demonstrations on one machine: it listens on loopback only, without TLS or accounts, and
keeps sessions only in memory. amqtt forgets the session of a client without a user name as soon as
it disconnects, so clients of the demo give one (any will do).
"""

import asyncio
import logging
import socket
from types import TracebackType
from typing import Self

from amqtt.broker import Broker
from amqtt.errors import AMQTTError

from gateway.core.errors import GatewayError

HOST = "127.0.0.1"


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
        except AMQTTError as error:
            raise BrokerFailed(f"{HOST}:{self.port}: {error}") from error
        self._broker = broker

    async def stop(self) -> None:
        """Hang up on everyone; safe to call twice."""
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.shutdown()
            await asyncio.sleep(0)  # its tasks see their cancellation


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
