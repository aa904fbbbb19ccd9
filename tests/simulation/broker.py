"""A broker in memory between one gateway and its head-end, with all that links do to messages.

QoS 1 and persistent sessions as a broker gives them: what is sent to somebody who is away waits, up
to a bound; a connection that breaks may take with it what was handed over and not yet looked at.
Duplicates, late and overtaking messages follow from a random source of its own.

Rules of this file: everything runs in the broker's own context, so that a gateway that is killed
takes no message with it that it has handed over.
"""

import asyncio
import contextlib
import contextvars
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from gateway.link.api import LinkDown, LinkStatus, Message, Serve, Topics

# What a broker keeps for one absent client; Mosquitto's default is 1,000.
MAX_KEPT = 1000
LATENCY_S = (0.02, 0.4)
RECONNECT_S = (1.0, 20.0)


@dataclass(slots=True)
class Weather:
    """What the link does to messages now; chances are per thousand."""

    down: bool = False
    doubled: int = 0
    late: int = 0
    late_by_s: float = 0.0
    acks_lost: bool = False
    acks_doubled: bool = False


@dataclass(slots=True)
class _Client:
    name: str
    kept: deque[Message] = field(default_factory=deque)
    session: "SimSession | None" = None


class SimBroker:
    """The broker. `heard` is told each message that the gateway hands over, before anybody else."""

    def __init__(self, gateway: str, seed: str, fault: Callable[[str], None]) -> None:
        self.topics = Topics(gateway)
        self.weather = Weather()
        self.heard: Callable[[Message], None] = lambda _: None
        self.brought: Callable[[], None] = lambda: None  # a recharge has reached the gateway
        self._fault = fault
        self._random = random.Random(f"{seed}/broker")
        self._clients = {name: _Client(name) for name in ("gateway", "headend")}
        self._state: Message | None = None
        self._generation = 0
        self._context = contextvars.copy_context()
        self._up = asyncio.Event()
        self._up.set()

    def link(self, name: str) -> "SimLink":
        """The link of the `gateway` or of the `headend`."""
        return SimLink(self, name)

    # --- faults -----------------------------------------------------------------------------------

    def go_down(self, *, forget: bool = False) -> None:
        """Break every connection; `forget` loses what was kept for the absent, as a crash does."""
        self.weather.down = True
        self._up.clear()
        for client in self._clients.values():
            self.hang_up(client.name)
            if forget:
                client.kept.clear()

    def come_up(self) -> None:
        """Let them connect again."""
        self.weather.down = False
        self._up.set()

    def hang_up(self, name: str) -> None:
        """Break one connection; half the time what was handed over and not looked at is lost."""
        client = self._clients[name]
        session, client.session = client.session, None
        if session is None:
            return
        unread = session.end()
        if self._random.random() < 0.5:
            client.kept.extendleft(reversed(unread))
        if name == "gateway":
            self._state = Message(self.topics.state, b'{"state":"offline"}', retain=True)
            self._hand_over("headend", self._state)

    def kept(self) -> int:
        """Messages waiting for somebody."""
        return sum(len(client.kept) for client in self._clients.values())

    # --- connections ------------------------------------------------------------------------------

    async def connected(self, name: str) -> "SimSession":
        """A session, once the broker can be reached."""
        await self._up.wait()
        await asyncio.sleep(self._random.uniform(*RECONNECT_S))
        await self._up.wait()
        client = self._clients[name]
        if client.session is not None:
            client.session.end()
        client.session = SimSession(self, name)
        if name == "headend" and self._state is not None:
            client.session.put(self._state)
        while client.kept:
            client.session.put(client.kept.popleft())
        return client.session

    def take(self, message: Message, sender: str) -> None:
        """Take a message from a client and send it on."""
        if sender == "gateway":
            self.heard(message)
        if message.retain:
            self._state = message
        receiver = "headend" if sender == "gateway" else "gateway"
        copies = 1
        if message.topic == self.topics.ack:
            if self.weather.acks_lost:
                self._fault("ack lost")
                return
            copies += self.weather.acks_doubled
        elif self._random.randrange(1000) < self.weather.doubled:
            copies += 1
            self._fault("message doubled")
        for _ in range(copies):
            delay_s = self._random.uniform(*LATENCY_S)
            if self._random.randrange(1000) < self.weather.late:
                delay_s = self._random.uniform(1.0, self.weather.late_by_s)
                self._fault("message late")
            asyncio.get_running_loop().call_later(
                delay_s,
                self._hand_over,
                receiver,
                message,
                self._generation,
                context=self._context,
            )

    def forget_what_is_late(self) -> None:
        """A card was restored: what of its old life is still on its way does not arrive any more.

        A message of a replaced history that overtakes the new one's is more than the contract can
        tell apart (see the documentation of what is not proven). What is kept here for an absent
        client stays, in its order.
        """
        self._generation += 1

    def _hand_over(self, name: str, message: Message, generation: int | None = None) -> None:
        if generation not in (None, self._generation):
            return
        client = self._clients[name]
        if client.session is not None:
            client.session.put(message)
            if message.topic == self.topics.recharge:
                self.brought()
        elif len(client.kept) < MAX_KEPT:
            client.kept.append(message)


class SimSession:
    """One connection; a `gateway.link.api.Session`."""

    def __init__(self, broker: SimBroker, name: str) -> None:
        self._broker = broker
        self._name = name
        self._arrived: deque[Message] = deque()
        self._wake = asyncio.Event()
        self.ended = asyncio.Event()

    def put(self, message: Message) -> None:
        """Hand a message to this client."""
        self._arrived.append(message)
        self._wake.set()

    def end(self) -> list[Message]:
        """The connection is gone; gives what nobody has looked at."""
        self.ended.set()
        self._wake.set()
        return list(self._arrived)

    async def publish(self, message: Message) -> None:
        """Send at QoS 1; returns when the broker has taken it. Raises `LinkDown`."""
        if self.ended.is_set():
            raise LinkDown("the connection is gone")
        self._broker.take(message, self._name)
        await asyncio.sleep(0.05)
        if self.ended.is_set():
            raise LinkDown("the connection ended while a message was under way")

    async def messages(self) -> AsyncIterator[Message]:
        """Messages as they arrive; ends only by raising `LinkDown`."""
        while True:
            while self._arrived and not self.ended.is_set():
                yield self._arrived.popleft()
            if self.ended.is_set():
                raise LinkDown("the connection is gone")
            self._wake.clear()
            await self._wake.wait()


class SimLink:
    """A `gateway.link.api.Link` to the broker in memory."""

    def __init__(self, broker: SimBroker, name: str) -> None:
        self._broker = broker
        self._name = name

    async def run(self, serve: Serve) -> None:
        """Connect, serve, reconnect, until cancelled. Raises only what is a bug in `serve`."""
        while True:
            session = await self._broker.connected(self._name)
            talking = asyncio.ensure_future(serve(session))
            ending = asyncio.ensure_future(session.ended.wait())
            try:
                await asyncio.wait([talking, ending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                talking.cancel()
                ending.cancel()
                await asyncio.wait([talking, ending])
                with contextlib.suppress(asyncio.CancelledError):
                    _raise_bug(talking)
            if not session.ended.is_set():
                self._broker.hang_up(self._name)

    def status(self) -> LinkStatus:
        """How the link is now."""
        return LinkStatus("sim://broker")


def _raise_bug(talking: "asyncio.Future[None]") -> None:
    error = None if talking.cancelled() else talking.exception()
    if error is not None and not _is_link_down(error):
        raise error


def _is_link_down(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_link_down(each) for each in error.exceptions)
    return isinstance(error, LinkDown)
