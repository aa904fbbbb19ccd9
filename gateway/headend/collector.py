"""The head-end's side of the link: stores what gateways send, then acknowledges; sends recharges.

Rules of this file: an ack is published only after the commit, and only for an unbroken row of
sequences. A recharge is sent again and again, ever more seldom, until a receipt says what became of
it; a PUBACK says nothing. A message that cannot be read is counted and not acknowledged.
"""

import asyncio
import json
import logging
from dataclasses import dataclass

from gateway.core.errors import StoreError
from gateway.documents.config import MqttConfig
from gateway.headend.copy import MAX_NUMBER, CloudEvent, HeadendCopy, Issued
from gateway.link.api import Link, LinkStatus, Message, Session, Topics, gateway_of
from gateway.link.mqtt import LinkOptions
from hardware.datafile import DataFileError, parse_json

_log = logging.getLogger(__name__)

ALL = Topics("+")
# A gateway's batch is at most 64 KiB, or one larger event.
MAX_BODY_BYTES = 1_000_000
# A note without a receipt is sent again after this, doubling to the last. Well above the time a
# gateway needs to answer, and seldom enough for a broker that queues for an absent one.
FIRST_RESEND_S = 10.0
LAST_RESEND_S = 600.0
# Notes may be signed by another process into the same database, so it is looked at this often.
LOOK_S = 1.0
# Notes without a receipt that are being sent at one time; more wait their turn.
MAX_OPEN_NOTES = 500


@dataclass(frozen=True, slots=True)
class State:
    """The body of a gateway's `state`."""

    state: str
    time: str | None = None
    timetrust: str | None = None
    version: str | None = None
    acknowledged: int | None = None

    def __post_init__(self) -> None:
        if self.acknowledged is not None and not 0 <= self.acknowledged <= MAX_NUMBER:
            raise ValueError(f"acknowledged must be 0 to {MAX_NUMBER}")


@dataclass(slots=True)
class _Sending:
    """When a note is due again."""

    gateway: str
    due_at_s: float
    delay_s: float


def collector_options(client_id: str, mqtt: MqttConfig) -> LinkOptions:
    """How a collector connects: it hears the events and states of all gateways."""
    return LinkOptions(client_id, mqtt, (ALL.events, ALL.state))


class Collector:
    """Collects from all gateways on one broker. Database calls are made in the event loop."""

    def __init__(self, copy: HeadendCopy, link: Link) -> None:
        self._copy = copy
        self._link = link
        self._sending: dict[str, _Sending] = {}
        self.issued = asyncio.Event()  # set it after signing, to send at once
        self.batches = self.refused = 0

    async def run(self) -> None:
        """Collect whenever there is a link, until cancelled."""
        await self._link.run(self._serve)

    def link_status(self) -> LinkStatus:
        """The link now."""
        return self._link.status()

    async def _serve(self, session: Session) -> None:
        self._sending.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(session))
            tasks.create_task(self._send_notes(session))

    async def _receive(self, session: Session) -> None:
        async for message in session.messages():
            gateway = gateway_of(message.topic)
            if gateway is None:
                continue
            topics = Topics(gateway)
            try:
                if message.topic == topics.events:
                    await self._take_batch(session, topics, message.body)
                elif message.topic == topics.state and message.body:
                    self._take_state(gateway, message.body)
            except (DataFileError, StoreError) as error:
                self.refused += 1
                _log.warning("%s: %s", message.topic, error)

    async def _take_batch(self, session: Session, topics: Topics, body: bytes) -> None:
        if len(body) > MAX_BODY_BYTES:
            raise DataFileError(f"a batch of {len(body)} bytes is beyond {MAX_BODY_BYTES}")
        events = parse_json(body, list[CloudEvent], name="up/events")
        for event in events:
            if event.source != f"/gateways/{topics.gateway}":
                raise DataFileError(f"source {event.source!r} does not fit its topic")
        through = self._copy.store(topics.gateway, events)
        self.batches += 1
        if through:
            ack = json.dumps({"sequence": through}).encode()
            await session.publish(Message(topics.ack, ack))

    def _take_state(self, gateway: str, body: bytes) -> None:
        state = parse_json(body, State, name="state")
        self._copy.note_state(gateway, state.state)
        if state.acknowledged is not None:
            self._copy.gone(gateway, state.acknowledged)
        if state.state == "online":  # it is back: no need to wait out a long delay
            soon_s = asyncio.get_running_loop().time() + FIRST_RESEND_S
            for sending in self._sending.values():
                if sending.gateway == gateway:
                    sending.due_at_s = min(sending.due_at_s, soon_s)
                    sending.delay_s = FIRST_RESEND_S

    async def _send_notes(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.issued.clear()
            waiting = self._copy.open_notes(MAX_OPEN_NOTES)
            ids = {note.recharge_id for note in waiting}
            self._sending = {key: each for key, each in self._sending.items() if key in ids}
            for note in waiting:
                await self._send_if_due(session, note, loop.time())
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.issued.wait()
            except TimeoutError:
                continue

    async def _send_if_due(self, session: Session, note: Issued, now_s: float) -> None:
        sending = self._sending.setdefault(
            note.recharge_id, _Sending(note.gateway, now_s, FIRST_RESEND_S)
        )
        if now_s < sending.due_at_s:
            return
        sending.due_at_s = now_s + sending.delay_s
        sending.delay_s = min(2 * sending.delay_s, LAST_RESEND_S)
        await session.publish(Message(Topics(note.gateway).recharge, note.note.encode()))
