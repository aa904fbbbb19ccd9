"""The sync service on a bench: an outbox in memory, and both ends of a connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from gateway.core.moment import Moment, Trust
from gateway.link.api import LinkDown, LinkStatus, Message, Topics
from gateway.services.sync import Sync
from gateway.store.outbox import OutboxEvent

TOPICS = Topics("GW-1")
NOW = Moment(datetime(2026, 11, 24, 10, tzinfo=UTC), Trust.RTC)


def event(sequence: int) -> OutboxEvent:
    return OutboxEvent(sequence, "t", "s", 1795550400, "ntp", {"n": sequence})


class MemoryOutbox:
    def __init__(self, count: int = 0) -> None:
        self.rows = {n: event(n) for n in range(1, count + 1)}
        self.changed = asyncio.Event()
        self.most_asked = 0
        self.error: Exception | None = None

    def add(self) -> None:
        n = max(self.rows, default=0) + 1
        self.rows[n] = event(n)
        self.changed.set()

    def pending(self, after: int, limit: int) -> list[OutboxEvent]:
        self.most_asked = max(self.most_asked, limit)
        found = []
        for n in sorted(self.rows):
            if n > after and len(found) < limit:
                found.append(self.rows[n])
        return found

    async def acknowledge(self, through: int) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.rows = {n: row for n, row in self.rows.items() if n > through}


class MemorySession:
    """Both ends of one connection; `cut` ends it."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.news = asyncio.Event()
        self.down: asyncio.Queue[Message | None] = asyncio.Queue()
        self.gone = False
        self.stalled = False

    async def publish(self, message: Message) -> None:
        await asyncio.sleep(0)
        if self.gone:
            raise LinkDown("gone")
        self.published.append(message)
        self.news.set()
        if self.stalled:
            await asyncio.get_running_loop().create_future()

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            message = await self.down.get()
            if message is None:
                raise LinkDown("gone")
            yield message

    def cut(self) -> None:
        self.gone = True
        self.down.put_nowait(None)

    def send(self, topic: str, body: bytes) -> None:
        self.down.put_nowait(Message(topic, body))

    def ack(self, sequence) -> None:
        self.send(TOPICS.ack, json.dumps({"sequence": sequence}).encode())

    def states(self) -> list[dict]:
        return [json.loads(m.body) for m in self.published if m.topic == TOPICS.state]

    def sequences(self) -> list[int]:
        return [
            told["sequence"]
            for message in self.published
            if message.topic == TOPICS.events
            for told in json.loads(message.body)
        ]

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.news.clear()
                await asyncio.wait([asyncio.ensure_future(self.news.wait())], timeout=0.01)


class MemoryLink:
    """Serves one session after another, as they are given."""

    def __init__(self) -> None:
        self.sessions: asyncio.Queue[MemorySession] = asyncio.Queue()

    def connect(self) -> MemorySession:
        session = MemorySession()
        self.sessions.put_nowait(session)
        return session

    async def run(self, serve) -> None:
        while True:
            session = await self.sessions.get()
            try:
                await serve(session)
            except* LinkDown:
                pass

    def status(self) -> LinkStatus:
        return LinkStatus("memory")


class Bench:
    def __init__(self, count: int = 0) -> None:
        self.outbox = MemoryOutbox(count)
        self.link = MemoryLink()
        self.recharges: list[bytes] = []
        self.commands: list[bytes] = []
        self.error: Exception | None = None
        self.sync = Sync(
            "GW-1",
            self.link,
            self.outbox,
            self.recharge,
            on_command=self.command,
            now=lambda: NOW,
            version="1.2.3",
        )

    async def recharge(self, body: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.recharges.append(body)

    async def command(self, body: bytes) -> None:
        self.commands.append(body)


@asynccontextmanager
async def running(bench: Bench):
    task = asyncio.create_task(bench.sync.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()
