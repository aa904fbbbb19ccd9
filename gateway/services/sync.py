"""The sync service: the outbox goes up, recharges and acknowledgements come down.

Rules of this file:
- An event leaves the outbox only when the head-end has acknowledged its sequence (`down/ack`).
  Neither a PUBACK nor the order of messages proves anything.
- What comes down is handed on as received; whether it is believed is decided where it is applied.
- Nothing here is waited for by metering or enforcement: without a link the outbox grows, that is
  all. Memory does not grow with it: at most one read of rows and a window of numbers is held.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.errors import GatewayError
from gateway.core.moment import Moment
from gateway.link.api import Link, LinkStatus, Message, Session, Topics
from gateway.services.outgoing import BatchReader, PendingEvents, Window
from hardware.datafile import DataFileError, parse_json

_log = logging.getLogger(__name__)

# `{"sequence": 123456789}` and some spaces; anything longer is no ack of ours.
MAX_ACK_BYTES = 128

Handler = Callable[[bytes], Awaitable[None]]


class Outbox(PendingEvents, Protocol):
    """The outbox as the sync service needs it."""

    @property
    def changed(self) -> asyncio.Event:
        """Set whenever an event was added; cleared by the sync service."""

    async def acknowledge(self, through: int) -> None:
        """Durably delete events up to `through`. Raises a `GatewayError`."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The body of `down/ack`: the head-end has stored everything up to `sequence`."""

    sequence: int

    def __post_init__(self) -> None:
        if self.sequence < 0:
            raise ValueError("sequence must be 0 or more")


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Counters since the start, for `gateway sync status`. Times are monotonic loop time."""

    link: LinkStatus | None
    acknowledged: int  # 0: nothing since the start
    sent: int
    batches_under_way: int
    batches_sent: int
    events_sent: int
    resends: int  # times that batches were sent again for want of an ack
    acks: int
    acks_ignored: int  # nonsense, stale, or beyond what was sent
    recharges: int
    failures: int  # of handling what came down, by our own fault or the disk's
    last_ack_at_s: float | None
    last_failure: str | None


class Sync:
    """Keeps the head-end up to date over a `Link` and hands on what it sends.

    Without a link (None) it does nothing, and the outbox keeps. `on_recharge` gets each
    `down/recharge` body as received and returns when it is stored; `on_command` likewise, if
    commands are known. `now` gives the wall time with its trust.
    """

    def __init__(
        self,
        gateway: str,
        link: Link | None,
        outbox: Outbox,
        on_recharge: Handler,
        *,
        on_command: Handler | None = None,
        now: Callable[[], Moment],
        version: str = "",
    ) -> None:
        self._topics = Topics(gateway)
        self._outbox = outbox
        self._link = link
        self._on_recharge = on_recharge
        self._on_command = on_command
        self._now = now
        self._version = version
        self._reader = BatchReader(gateway, outbox)
        self._window = Window()
        self._wake = asyncio.Event()
        self._batches_sent = self._events_sent = self._resends = 0
        self._acks = self._acks_ignored = self._recharges = self._failures = 0
        self._last_ack_at_s: float | None = None
        self._last_failure: str | None = None

    async def run(self) -> None:
        """Sync whenever there is a link, until cancelled."""
        if self._link is None:
            await asyncio.get_running_loop().create_future()  # until cancelled
        else:
            await self._link.run(self._serve)

    def link_status(self) -> LinkStatus | None:
        """The link now; None when the configuration names no broker."""
        return self._link.status() if self._link is not None else None

    def status(self) -> SyncStatus:
        """Counters now."""
        return SyncStatus(
            link=self.link_status(),
            acknowledged=self._window.acknowledged,
            sent=self._window.sent,
            batches_under_way=len(self._window.under_way),
            batches_sent=self._batches_sent,
            events_sent=self._events_sent,
            resends=self._resends,
            acks=self._acks,
            acks_ignored=self._acks_ignored,
            recharges=self._recharges,
            failures=self._failures,
            last_ack_at_s=self._last_ack_at_s,
            last_failure=self._last_failure,
        )

    async def _serve(self, session: Session) -> None:
        """One session: send and receive until it ends."""
        self._window.rewind()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(session))
            tasks.create_task(self._send(session))
            tasks.create_task(self._watch_outbox())

    async def _say_online(self, session: Session) -> None:
        """The retained state, with what the head-end need not wait for: it is deleted here."""
        now = self._now()
        body: dict[str, Any] = {
            "state": "online",
            "time": now.iso(),
            "timetrust": now.trust.name.lower(),
            "version": self._version,
        }
        oldest = self._outbox.pending(0, 1)
        # Acknowledged rows may still be there: they are deleted with a later write.
        done = max(self._window.acknowledged, oldest[0].sequence - 1 if oldest else 0)
        if done:
            body["acknowledged"] = done
        message = Message(self._topics.state, json.dumps(body).encode(), retain=True)
        await session.publish(message)

    async def _send(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        await self._say_online(session)
        while True:
            self._wake.clear()
            deadline_s = self._window.deadline_s
            if deadline_s is not None and loop.time() >= deadline_s:
                self._resends += 1
                self._window.give_up()
                # A head-end that lost events, or its database, waits for what we deleted long ago.
                await self._say_online(session)
            while self._window.open:
                batch = self._reader.next(self._window.sent)
                if batch is None:
                    break
                self._window.add(batch.last, loop.time())
                await session.publish(Message(self._topics.events, batch.body))
                self._batches_sent += 1
                self._events_sent += batch.count
            await self._until_woken(self._window.deadline_s)

    async def _until_woken(self, deadline_s: float | None) -> None:
        """Sleep until there is something to send, an ack came, or the deadline passed."""
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _watch_outbox(self) -> None:
        while True:
            await self._outbox.changed.wait()
            self._outbox.changed.clear()
            self._wake.set()

    async def _receive(self, session: Session) -> None:
        async for message in session.messages():
            if message.topic == self._topics.ack:
                await self._take_ack(message.body)
            elif message.topic == self._topics.recharge:
                self._recharges += 1
                await self._hand_on(self._on_recharge, message.body)
            elif message.topic == self._topics.command and self._on_command is not None:
                await self._hand_on(self._on_command, message.body)

    async def _take_ack(self, body: bytes) -> None:
        through = _read_ack(body)
        if through is None or not self._window.accepts(through):
            self._acks_ignored += 1
            return
        try:
            await self._outbox.acknowledge(through)
        except GatewayError as error:
            self._note("acknowledging", error)  # it is sent again, and acknowledged again
            return
        now_s = asyncio.get_running_loop().time()
        self._window.acknowledge(through, now_s)
        self._acks += 1
        self._last_ack_at_s = now_s
        self._wake.set()

    async def _hand_on(self, handler: Handler, body: bytes) -> None:
        """A failure here (a full disk, a busy database) is the head-end's to try again."""
        try:
            await handler(body)
        except GatewayError as error:
            self._note("applying what came down", error)

    def _note(self, what: str, error: GatewayError) -> None:
        self._failures += 1
        self._last_failure = f"{what}: {error}"
        _log.warning("%s: %s", what, error)


def _read_ack(body: bytes) -> int | None:
    if len(body) > MAX_ACK_BYTES:
        return None
    try:
        return parse_json(body, Ack, name="ack").sequence
    except DataFileError:
        return None
