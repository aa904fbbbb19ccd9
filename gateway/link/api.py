"""What a service sees of the link: sessions that come and go, and messages on them.

A `Link` calls `serve(session)` each time it is connected and cancels it when the session is lost;
what it does meanwhile may raise `LinkDown`. So a service is written as one straight conversation,
and all reconnecting lives in one place. The link never raises for want of a connection.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import GatewayError

PREFIX = "prepaid/v1"


class LinkDown(GatewayError, ConnectionError):
    """There is no connection to the broker, or it ended."""

    hint = "The gateway goes on without it and tries again by itself."


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `body` is what travelled, nothing parsed."""

    topic: str
    body: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The link now. Times are monotonic loop time."""

    broker: str
    connected_since_s: float | None = None  # None: not connected
    sessions: int = 0  # connections that were made
    failures: int = 0  # attempts in a row that made none
    next_attempt_at_s: float | None = None
    last_error: str | None = None
    last_hint: str | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self.connected_since_s is not None


class Session(Protocol):
    """One connection to the broker, from its beginning to its end."""

    async def publish(self, message: Message) -> None:
        """Send at QoS 1; returns when the broker has taken it. Raises `LinkDown`."""

    def messages(self) -> AsyncIterator[Message]:
        """Messages as they arrive, on all subscribed topics; ends only by raising `LinkDown`."""


Serve = Callable[[Session], Awaitable[None]]


class Link(Protocol):
    """A connection that is kept up for as long as `run` runs."""

    async def run(self, serve: Serve) -> None:
        """Connect, serve, reconnect, until cancelled. Raises only what is a bug in `serve`."""

    def status(self) -> LinkStatus:
        """How the link is now."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one gateway, or of all of them with `+` for its name."""

    gateway: str

    @property
    def recharge(self) -> str:
        """Signed recharges, to the gateway."""
        return f"{PREFIX}/{self.gateway}/down/recharge"

    @property
    def command(self) -> str:
        """Signed commands, to the gateway."""
        return f"{PREFIX}/{self.gateway}/down/command"

    @property
    def ack(self) -> str:
        """What the head-end has stored, to the gateway."""
        return f"{PREFIX}/{self.gateway}/down/ack"

    @property
    def events(self) -> str:
        """Batches of events, from the gateway."""
        return f"{PREFIX}/{self.gateway}/up/events"

    @property
    def state(self) -> str:
        """Whether the gateway is online; retained, and its last will."""
        return f"{PREFIX}/{self.gateway}/state"

    @property
    def down(self) -> tuple[str, ...]:
        """All topics a gateway subscribes to."""
        return (self.recharge, self.command, self.ack)


def last_will(gateway: str) -> Message:
    """What the broker says of a gateway that vanished, and the gateway itself when it leaves."""
    return Message(Topics(gateway).state, b'{"state":"offline"}', retain=True)


def gateway_of(topic: str) -> str | None:
    """The gateway a topic of ours belongs to, or None for any other topic."""
    parts = topic.split("/")
    if len(parts) < 4 or "/".join(parts[:2]) != PREFIX or not parts[2]:  # noqa: PLR2004
        return None
    return parts[2]
