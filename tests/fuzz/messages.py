"""What comes from the head-end and, at the head-end, from gateways. Only what is signed may credit.

The gateway here is the real bookkeeping, recharging and sync over a real database; the head-end the
real collector. Each is one street for the whole run: whatever came before must not help either.
"""

import asyncio
import json
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.app import _Outbox
from gateway.core.errors import StoreError
from gateway.core.recharge import MAX_AMOUNT_PAISE
from gateway.documents.signed import RECHARGE_TYPE, NoteError, SigningKey, read_recharge, verify
from gateway.headend.collector import Collector
from gateway.headend.copy import HeadendCopy
from gateway.link.api import LinkDown, Message, Topics
from gateway.services.outgoing import cloud_event
from gateway.services.sync import Sync
from gateway.store import outbox
from gateway.store.outbox import OutboxEvent
from tests.fuzz.target import Check, Target, demand
from tests.gateway.services.rig import Rig


def _key(number: int) -> SigningKey:
    """The same key in every run, so that a seed gives the same case again."""
    private = Ed25519PrivateKey.from_private_bytes(bytes((number,)) * 32)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey.from_pem(pem.decode())


KEY, OTHER, UNUSED = (_key(number) for number in range(3))
TOPICS = Topics("GW-1")


def body(number: int, amount_paise: int = 100, **more) -> bytes:
    fields = {"v": 1, "gateway": "GW-1", "account": "A-1", "recharge_id": f"R-{number}"}
    return json.dumps(fields | {"amount_paise": amount_paise, "currency": "INR", **more}).encode()


def note(payload: bytes, key: SigningKey = KEY) -> bytes:
    return key.sign(payload, "office-1", RECHARGE_TYPE).encode()


SIGNED = {note(body(n)): body(n) for n in range(3)}
NOTES = (*SIGNED, note(body(9), OTHER), note(b"{}"), KEY.sign(body(1), "x", "command+jws").encode())


def notes() -> Check:
    """A note is believed only as its signer wrote it."""
    keys = {"office-1": KEY.public}

    def check(data: bytes) -> None:
        try:
            payload = verify(data, keys, RECHARGE_TYPE)
        except NoteError as error:
            demand(bool(str(error)), "an error without a word")
            return
        # What surrounds it is let through: white space, and the separators that scanners send.
        inner = data.decode("ascii").strip().encode()
        demand(SIGNED.get(inner, payload) == payload, "another payload than was signed")
        demand(inner in NOTES, "a note was believed that nobody signed")

    return check


def recharge_bodies() -> Check:
    """The payload inside a good signature may still be nonsense."""

    def check(data: bytes) -> None:
        try:
            recharge = read_recharge(data)
        except NoteError:
            return
        demand(type(recharge.amount_paise) is int, "an amount that is no integer")
        demand(0 < abs(recharge.amount_paise) <= MAX_AMOUNT_PAISE, "an amount beyond any sale")

    return check


class _Session:
    """One message comes in and the connection ends; what is sent is kept."""

    def __init__(self, *messages: Message) -> None:
        self._messages = messages
        self.sent: list[Message] = []

    async def publish(self, message: Message) -> None:
        self.sent.append(message)

    async def messages(self):
        for message in self._messages:
            yield message
        raise LinkDown("the end")


def gateway() -> Check:
    """First byte: the topic; the rest: the body. Balance, holds, relay and outbox stay as they are.

    The key that the gateway believes has signed nothing.
    """
    loop = asyncio.new_event_loop()
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    topics = (TOPICS.recharge, TOPICS.ack, TOPICS.command, "prepaid/v1/GW-1/down/\ud7ff", "")

    async def street():
        rig = Rig(Path(folder.name), keys={"office-1": UNUSED.public})
        await rig.home()
        await rig.settle()
        sync = Sync("GW-1", None, _Outbox(rig.books), lambda b: _apply(rig, b), now=rig.clock.now)
        sync._window.add(3, 0.0)
        sync._folder = folder  # lives as long as it is used
        return rig, sync

    rig, sync = loop.run_until_complete(street())

    def check(data: bytes) -> None:
        if not data:
            return
        session = _Session(Message(topics[data[0] % len(topics)], data[1:]))
        sync._window.acknowledged = 0
        _until_down(loop, sync._receive(session))
        demand(rig.account().balance_paise == 5000, "charged or credited")
        demand(not rig.account().holds and rig.closed(), "switched or held")
        demand(rig.books.acknowledged <= 3, "acknowledged beyond what was sent")
        last = outbox.counts(rig.db.reader)[1]
        demand(len(outbox.pending(rig.db.reader, 3, 10**6)) == last - 3, "an event was dropped")

    return check


async def _apply(rig: Rig, note_bytes: bytes) -> None:
    await rig.recharging.apply(note_bytes, "mqtt")


def _until_down(loop: asyncio.AbstractEventLoop, work) -> None:
    try:
        loop.run_until_complete(work)
    except LinkDown:
        return
    demand(False, "it left without a broken connection")


def head_end() -> Check:
    """First byte: events or state; the rest: the body. An ack says only what is stored."""
    loop = asyncio.new_event_loop()
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    copy = HeadendCopy(Path(folder.name) / "headend.db")
    copy._db.execute("PRAGMA synchronous=OFF")  # nothing is learned from a disk here
    collector = Collector(copy, None)
    collector._folder = folder

    def check(data: bytes) -> None:
        if not data:
            return
        topic = TOPICS.state if data[0] % 4 == 0 else TOPICS.events
        session = _Session(Message(topic, data[1:]))
        _until_down(loop, collector._receive(session))
        for message in session.sent:
            through = json.loads(message.body)["sequence"]
            demand(message.topic == TOPICS.ack, "an answer elsewhere")
            demand(0 < through <= copy.through("GW-1"), "acknowledged what is not stored")
        demand(not copy._db.in_transaction, "a transaction was left open")
        try:
            copy.accounts("GW-1")
        except StoreError as error:
            demand(False, f"the copy cannot be read any more: {error}")

    return check


def _batches() -> tuple[bytes, ...]:
    entry = {"account": "A-1", "seq": 1, "amount_paise": 100, "balance_paise": 100}
    kinds = (
        ("ledger.entries", {"entries": [entry]}),
        ("recharge.receipt", {"recharge_id": "R-1", "outcome": "CREDITED", "balance_paise": 1}),
        ("recharge.rejected", {"digest": "00", "outcome": "MALFORMED"}),
        ("meter.intervals", {"utc_s": 1, "registers": {"M1": [1, None]}}),
    )
    events = [
        cloud_event("GW-1", OutboxEvent(number, kind, "A-1", 1_790_000_000, "ntp", data))
        for number, (kind, data) in enumerate(kinds, start=1)
    ]
    single = [b"\1" + json.dumps([event]).encode() for event in events]
    return (b"\1" + json.dumps(events).encode(), *single)


BATCHES = _batches()
STATES = (b'\0{"state":"online","acknowledged":3}', b'\0{"state":"offline"}')
WORDS = (b'"sequence":', b'"data":', b'"entries":', b'"amount_paise":', b'"id":')

TARGETS = (
    Target("signed notes", notes, NOTES, (b".", b"=", b"e30"), cost=4),
    Target("recharge bodies", recharge_bodies, tuple(SIGNED.values()), WORDS),
    Target(
        "messages to a gateway",
        gateway,
        (*(b"\0" + each for each in NOTES), b'\1{"sequence": 2}', b"\2" + NOTES[0]),
        (*WORDS, b"4", b"99"),
        cost=20,
    ),
    Target("messages to the head-end", head_end, (*BATCHES, *STATES), WORDS, cost=10),
)
