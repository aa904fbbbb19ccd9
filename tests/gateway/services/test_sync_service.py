"""The sync service over a link in memory: what it sends, deletes, ignores and survives."""

import asyncio
import json
import tracemalloc

import pytest
from sync_bench import NOW, TOPICS, Bench, MemoryOutbox, MemorySession, event, running

from gateway.core.errors import DatabaseBusy
from gateway.link.api import Message
from gateway.services import outgoing
from gateway.services.sync import Sync
from gateway.store.outbox import OutboxEvent


async def test_the_first_word_is_the_retained_state_with_what_is_done():
    bench = Bench(3)
    await bench.outbox.acknowledge(1)
    session = bench.link.connect()
    async with running(bench):
        await session.until(session.sequences)
    first = session.published[0]
    assert (first.topic, first.retain) == (TOPICS.state, True)
    assert json.loads(first.body) == {
        "state": "online",
        "time": "2026-11-24T10:00:00Z",
        "timetrust": "rtc",
        "version": "1.2.3",
        "acknowledged": 1,
    }


async def test_events_go_up_in_order_and_leave_the_outbox_only_with_an_ack():
    bench = Bench(3)
    session = bench.link.connect()
    async with running(bench):
        await session.until(lambda: session.sequences() == [1, 2, 3])
        await asyncio.sleep(0.05)
        assert sorted(bench.outbox.rows) == [1, 2, 3], "a PUBACK proves nothing"
        session.ack(2)
        await session.until(lambda: sorted(bench.outbox.rows) == [3])
        session.ack(3)
        await session.until(lambda: not bench.outbox.rows)
    assert session.sequences() == [1, 2, 3]
    assert bench.sync.status().acks == 2


async def test_what_is_acknowledged_but_not_yet_deleted_is_told_as_done_and_not_sent_again():
    """The store deletes with its next write, to spare the card."""
    bench = Bench(5)

    async def later(_through: int) -> None:
        return

    bench.outbox.acknowledge = later
    first = bench.link.connect()
    async with running(bench):
        await first.until(lambda: first.sequences() == [1, 2, 3, 4, 5])
        first.ack(3)
        await first.until(lambda: bench.sync.status().acks == 1)
        first.cut()
        second = bench.link.connect()
        await second.until(lambda: second.sequences() == [4, 5])
        assert second.states()[0]["acknowledged"] == 3


async def test_a_new_event_goes_up_at_once():
    bench = Bench()
    session = bench.link.connect()
    async with running(bench):
        await session.until(session.states)
        assert "acknowledged" not in session.states()[0]
        bench.outbox.add()
        await session.until(lambda: session.sequences() == [1])
        bench.outbox.add()
        await session.until(lambda: session.sequences() == [1, 2])


async def test_a_head_end_that_never_acknowledges_still_hears_what_is_new_at_once():
    bench = Bench(2)
    bench.sync._window.timeout_s = 0.05
    session = bench.link.connect()
    async with running(bench):
        await session.until(lambda: session.sequences() == [1, 2, 1, 2])
        for n in (3, 4, 5, 6, 7):
            bench.outbox.add()
            await session.until(lambda n=n: session.sequences()[-1] == n)


async def test_no_more_than_the_window_is_under_way():
    bench = Bench(5000)
    session = bench.link.connect()
    async with running(bench):
        await session.until(lambda: len(session.sequences()) >= outgoing.WINDOW_EVENTS)
        await asyncio.sleep(0.05)
        assert len(session.sequences()) < outgoing.WINDOW_EVENTS + outgoing.BATCH_EVENTS
        assert bench.outbox.most_asked <= outgoing.BATCH_EVENTS
        while bench.outbox.rows:
            session.ack(session.sequences()[-1])
            await asyncio.sleep(0.01)
    assert session.sequences() == list(range(1, 5001))


async def test_after_a_reconnect_it_sends_again_from_the_last_ack():
    bench = Bench(5)
    first = bench.link.connect()
    async with running(bench):
        await first.until(lambda: first.sequences() == [1, 2, 3, 4, 5])
        first.ack(2)
        await first.until(lambda: len(bench.outbox.rows) == 3)
        first.cut()
        second = bench.link.connect()
        await second.until(lambda: second.sequences() == [3, 4, 5])
        assert second.states()[0]["acknowledged"] == 2


@pytest.mark.parametrize("hangs", ["state", "events"])
async def test_what_hangs_in_a_dead_connection_is_sent_again_in_the_next(hangs):
    bench = Bench(2)
    first = bench.link.connect()
    first.stalled = hangs == "state"
    async with running(bench):
        await first.until(lambda: first.published)
        first.stalled = True
        bench.outbox.add()
        await asyncio.sleep(0.02)
        first.cut()
        second = bench.link.connect()
        await second.until(lambda: second.sequences() == [1, 2, 3])


async def test_without_an_ack_in_time_it_sends_again_after_saying_what_is_done(monkeypatch):
    monkeypatch.setattr(outgoing, "ACK_TIMEOUT_S", 0.05)
    bench = Bench(2)
    bench.sync._window.timeout_s = 0.05
    session = bench.link.connect()
    async with running(bench):
        await session.until(lambda: session.sequences() == [1, 2] * 3)
        assert len(session.states()) == 3
        assert bench.sync.status().resends == 2
        session.ack(2)
        await session.until(lambda: not bench.outbox.rows)
        assert bench.sync.status().batches_under_way == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"2",
        b"{}",
        b"[]",
        b'{"sequence":"2"}',
        b'{"sequence":2.0}',
        b'{"sequence":true}',
        b'{"sequence":-1}',
        b'{"sequence":0}',
        b'{"sequence":4}',
        b'{"sequence":99999999999999999999999}',
        b'{"sequence":2,"also":1}',
        b'{"sequence":2}' + b" " * 200,
        b"\xff\xfe",
        b"[" * 100,
    ],
)
async def test_an_ack_of_nonsense_or_beyond_what_was_sent_deletes_nothing(body):
    bench = Bench(3)
    session = bench.link.connect()
    async with running(bench):
        await session.until(lambda: session.sequences() == [1, 2, 3])
        session.send(TOPICS.ack, body)
        await session.until(lambda: bench.sync.status().acks_ignored == 1)
        assert sorted(bench.outbox.rows) == [1, 2, 3]
        session.ack(3)
        await session.until(lambda: not bench.outbox.rows)


async def test_an_ack_that_waited_on_the_broker_from_an_earlier_life_deletes_nothing():
    """It may be for a card image that was restored since."""
    bench = Bench(3)
    session = bench.link.connect()
    session.ack(3)
    async with running(bench):
        await session.until(lambda: session.sequences() == [1, 2, 3])
    assert bench.sync.status().acks_ignored == 1
    assert len(bench.outbox.rows) == 3


async def test_a_failed_deletion_is_tried_again_with_the_next_ack():
    bench = Bench(3)
    bench.outbox.error = DatabaseBusy("busy")
    session = bench.link.connect()
    async with running(bench):
        await session.until(session.sequences)
        session.ack(3)
        await session.until(lambda: bench.sync.status().failures == 1)
        assert len(bench.outbox.rows) == 3
        bench.outbox.error = None
        session.ack(3)
        await session.until(lambda: not bench.outbox.rows)


async def test_what_comes_down_is_handed_on_as_received():
    bench = Bench()
    session = bench.link.connect()
    async with running(bench):
        session.send(TOPICS.recharge, b"\x00 not even text \xff")
        session.send(TOPICS.command, b"c")
        session.send("prepaid/v1/GW-2/down/recharge", b"for another")
        await session.until(lambda: bench.commands)
    assert bench.recharges == [b"\x00 not even text \xff"]
    assert bench.commands == [b"c"]


async def test_a_recharge_that_could_not_be_stored_does_not_stop_the_service():
    bench = Bench()
    bench.error = DatabaseBusy("busy")
    session = bench.link.connect()
    async with running(bench):
        session.send(TOPICS.recharge, b"first")
        await session.until(lambda: bench.sync.status().failures == 1)
        assert "busy" in (bench.sync.status().last_failure or "")
        bench.error = None
        session.send(TOPICS.recharge, b"second")
        await session.until(lambda: bench.recharges == [b"second"])


async def test_a_bug_while_handling_is_not_swallowed():
    bench = Bench()
    bench.error = ZeroDivisionError()
    session = bench.link.connect()
    session.send(TOPICS.recharge, b"x")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(bench.sync.run(), 5)
    assert caught.value.subgroup(ZeroDivisionError)


async def test_without_a_broker_it_waits_and_the_outbox_keeps():
    outbox = MemoryOutbox(3)
    sync = Sync("GW-1", None, outbox, Bench().recharge, now=lambda: NOW)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sync.run(), 0.05)
    assert sync.link_status() is None
    assert len(outbox.rows) == 3


class EndlessOutbox(MemoryOutbox):
    """Thirty days of events that exist only when they are read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.through = count, 0

    def pending(self, after: int, limit: int) -> list[OutboxEvent]:
        first = max(after, self.through) + 1
        return [event(n) for n in range(first, min(first + limit, self.count + 1))]

    async def acknowledge(self, through: int) -> None:
        self.through = through


async def test_a_backlog_of_thirty_days_drains_in_order_and_in_little_memory():
    count = 30 * 96 * 4
    bench = Bench()
    bench.outbox = bench.sync._outbox = bench.sync._reader._outbox = EndlessOutbox(count)
    session = MemorySession()
    expected = 0

    async def publish(message: Message) -> None:
        nonlocal expected
        await asyncio.sleep(0)
        if message.topic == TOPICS.events:
            for told in json.loads(message.body):
                expected += 1
                assert told["sequence"] == expected
            session.ack(expected)

    session.publish = publish
    bench.link.sessions.put_nowait(session)
    tracemalloc.start()
    async with running(bench):
        async with asyncio.timeout(60):
            while bench.outbox.through < count:
                await asyncio.sleep(0.01)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
