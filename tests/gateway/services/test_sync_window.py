"""Batches and the window of what is under way: numbers only."""

import json
import random

from gateway.services.outgoing import (
    ACK_TIMEOUT_S,
    BATCH_BYTES,
    BATCH_EVENTS,
    LAST_ACK_TIMEOUT_S,
    WINDOW_EVENTS,
    BatchReader,
    Window,
    cloud_event,
)
from gateway.store.outbox import OutboxEvent


def event(sequence: int, **changes) -> OutboxEvent:
    given = {
        "sequence": sequence,
        "type": "meter.intervals",
        "subject": "meters",
        "utc_s": 1795550400 + sequence,
        "trust": "ntp",
        "data": {"n": sequence},
    }
    return OutboxEvent(**(given | changes))


class Rows:
    """An outbox of given rows that counts how often it is read."""

    def __init__(self, rows: list[OutboxEvent]) -> None:
        self.rows = rows
        self.reads = 0
        self.rows_read = 0

    def pending(self, after: int, limit: int) -> list[OutboxEvent]:
        found = [row for row in self.rows if row.sequence > after][:limit]
        self.reads += 1
        self.rows_read += len(found)
        return found


def drain(reader: BatchReader) -> list:
    batches, after = [], 0
    while batch := reader.next(after):
        batches.append(batch)
        after = batch.last
    return batches


def test_an_event_is_a_cloud_event_with_sequence_and_time_trust():
    told = cloud_event("GW-1", event(7, type="recharge.receipt", subject="A-101", trust="none"))
    assert told.pop("id").startswith("7-")
    assert told == {
        "specversion": "1.0",
        "source": "/gateways/GW-1",
        "type": "recharge.receipt",
        "subject": "A-101",
        "time": "2026-11-24T20:00:07Z",
        "datacontenttype": "application/json",
        "data": {"n": 7},
        "sequence": 7,
        "timetrust": "none",
    }


def test_an_id_is_the_same_when_sent_again_and_another_for_other_content():
    first = cloud_event("GW-1", event(7))["id"]
    assert cloud_event("GW-1", event(7))["id"] == first
    others = [
        event(7, data={"n": 8}),
        event(7, subject="x"),
        event(7, type="x"),
        event(7, utc_s=1),
        event(8),
    ]
    assert first not in {cloud_event("GW-1", other)["id"] for other in others}


def test_batches_hold_every_event_once_in_order_within_both_bounds():
    rng = random.Random(1)
    rows = [
        event(n, data={"x": "अ" * rng.choice((1, 10, 3000, BATCH_BYTES))}) for n in range(1, 700)
    ]
    outbox = Rows(rows)
    batches = drain(BatchReader("GW-1", outbox))
    sent = [told["sequence"] for batch in batches for told in json.loads(batch.body)]
    assert sent == [row.sequence for row in rows]
    for batch in batches:
        assert batch.count == len(json.loads(batch.body)) <= BATCH_EVENTS
        assert len(batch.body) <= BATCH_BYTES or batch.count == 1
        assert (batch.first, batch.last) == (
            json.loads(batch.body)[0]["sequence"],
            json.loads(batch.body)[-1]["sequence"],
        )
    assert outbox.rows_read == len(rows), "each row is read once"


def test_small_events_fill_a_batch_by_count():
    batches = drain(BatchReader("GW-1", Rows([event(n, data=0) for n in range(1, 1202)])))
    assert len(batches) > 2
    assert max(len(batch.body) for batch in batches) > BATCH_BYTES // 2


def test_a_reader_starts_where_it_is_told():
    reader = BatchReader("GW-1", Rows([event(n) for n in range(1, 2000)]))
    first = reader.next(0)
    assert first is not None
    reader.next(first.last)
    again = reader.next(0)
    assert again == first


def test_rows_that_were_acknowledged_meanwhile_are_skipped():
    reader = BatchReader("GW-1", Rows([event(n) for n in range(1, 100)]))
    reader._ahead.extend(event(n) for n in range(1, 50))
    batch = reader.next(30)
    assert batch is not None
    assert batch.first == 31


def test_the_window_closes_at_its_limit_of_events_and_opens_with_an_ack():
    window = Window()
    for n in range(4):
        assert window.open
        window.add(WINDOW_EVENTS // 4 * (n + 1), float(n))
    assert not window.open
    window.acknowledge(10, 5.0)
    assert window.open
    assert window.deadline_s == 5.0 + ACK_TIMEOUT_S
    window.acknowledge(WINDOW_EVENTS, 6.0)
    assert window.deadline_s is None


def test_many_small_batches_do_not_close_the_window():
    window = Window()
    for n in range(1, 200):
        assert window.open
        window.add(n, 0.0)


def test_an_ack_inside_a_batch_is_taken_and_the_batch_stays_under_way():
    window = Window()
    window.add(10, 0.0)
    window.acknowledge(5, 1.0)
    assert window.acknowledged == 5
    assert len(window.under_way) == 1


def test_an_ack_beyond_what_was_sent_or_long_done_is_not_accepted():
    window = Window()
    assert not window.accepts(1), "nothing was sent yet"
    window.add(10, 0.0)
    assert [n for n in range(-2, 13) if window.accepts(n)] == list(range(1, 11))
    window.acknowledge(4, 1.0)
    assert [n for n in range(-2, 13) if window.accepts(n)] == list(range(5, 11))


def test_a_late_ack_of_what_was_sent_before_a_rewind_is_accepted():
    window = Window()
    window.add(10, 0.0)
    window.add(20, 0.0)
    window.rewind()
    assert window.sent == 0
    assert window.accepts(20)
    window.acknowledge(20, 1.0)
    assert window.sent == 20, "nothing acknowledged is sent again"


def test_silence_makes_resending_of_the_oldest_batch_ever_slower_until_an_ack():
    window = Window()
    timeouts = []
    for _ in range(10):
        window.add(10, 0.0)
        assert window.deadline_s is not None
        timeouts.append(window.deadline_s)
        window.give_up()
        assert window.sent == 0
    assert timeouts == [30, 60, 120, 240, 480, 900, 900, 900, 900, 900]
    assert timeouts[-1] == LAST_ACK_TIMEOUT_S
    window.acknowledge(5, 0.0)
    assert window.timeout_s == ACK_TIMEOUT_S


def test_after_a_silence_one_batch_is_repeated_and_new_events_go_on():
    window = Window()
    for last in (10, 20, 30):
        window.add(last, 0.0)
    window.give_up()
    assert (window.sent, window.open) == (0, True)
    window.add(10, 30.0)
    assert window.sent == 30, "what was sent once is not repeated yet"
    window.add(31, 31.0)
    window.give_up()
    window.give_up()
    window.add(10, 90.0)
    assert window.sent == 31


def test_an_ack_after_a_silence_has_all_that_follows_sent_again():
    window = Window()
    for last in (10, 20, 30):
        window.add(last, 0.0)
    window.give_up()
    window.add(10, 30.0)
    window.acknowledge(10, 31.0)
    assert window.sent == 10
    window.add(30, 32.0)
    window.acknowledge(30, 33.0)
    assert (window.sent, window.deadline_s) == (30, None)
