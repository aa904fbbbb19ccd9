"""Events on their way out: the batches they travel in, and which of them are under way.

Rules of this file: no I/O but reading the outbox. A batch is a CloudEvents 1.0 JSON array (JSON
batch format); `sequence` and `timetrust` are extension attributes. What is under way is kept as
numbers, never as rows: after any doubt it is read from the outbox again.
"""

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.core.moment import iso_utc
from gateway.store.outbox import OutboxEvent

# A batch is bounded by both: 500 events is where batching stops paying (measured against one by
# one), and 64 KiB passes a 20 kbit/s link in half a minute and every broker's packet limit.
BATCH_EVENTS = 500
BATCH_BYTES = 64 * 1024
# Batches sent and not acknowledged. Two keep a link busy while the head-end commits; four cover a
# head-end that commits slowly.
WINDOW_BATCHES = 4
# The head-end acknowledges after one commit. Without an ack in this time the batches are sent
# again, then at growing intervals: a broker would queue every copy for an absent head-end.
ACK_TIMEOUT_S = 30.0
LAST_ACK_TIMEOUT_S = 900.0


class PendingEvents(Protocol):
    """The outbox as a reader sees it."""

    def pending(self, after: int, limit: int) -> Sequence[OutboxEvent]:
        """The next events after sequence `after`, oldest first."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded events, and the sequence of the last of them."""

    body: bytes
    first: int
    last: int
    count: int


def cloud_event(gateway: str, event: OutboxEvent) -> dict[str, Any]:
    """One event in CloudEvents' JSON form. Its `id` is the same whenever it is sent again.

    The id has a digest of the content besides the sequence: should a restored card image give a
    sequence out twice, the head-end sees two events, not one.
    """
    data = json.dumps(event.data, sort_keys=True, separators=(",", ":"))
    content = f"{event.type}\n{event.subject}\n{event.utc_s}\n{data}"
    return {
        "specversion": "1.0",
        "id": f"{event.sequence}-{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        "source": f"/gateways/{gateway}",
        "type": event.type,
        "subject": event.subject,
        "time": iso_utc(event.utc_s),
        "datacontenttype": "application/json",
        "data": event.data,
        "sequence": event.sequence,
        "timetrust": event.trust,
    }


class BatchReader:
    """Cuts the outbox into batches, reading each row once as long as nothing goes wrong."""

    def __init__(self, gateway: str, outbox: PendingEvents) -> None:
        self._gateway = gateway
        self._outbox = outbox
        # Read and not yet sent: at most BATCH_EVENTS rows.
        self._ahead: deque[OutboxEvent] = deque()

    def next(self, after: int) -> Batch | None:
        """The batch that follows sequence `after`; None when nothing waits."""
        while self._ahead and self._ahead[0].sequence <= after:
            self._ahead.popleft()
        if not self._ahead:
            self._ahead.extend(self._outbox.pending(after, BATCH_EVENTS))
        if not self._ahead:
            return None
        first = self._ahead[0].sequence
        parts: list[str] = []
        size, last = 2, after
        while self._ahead:
            text = json.dumps(
                cloud_event(self._gateway, self._ahead[0]),
                ensure_ascii=False,
                separators=(",", ":"),
            )
            size += len(text.encode()) + 1
            if parts and size > BATCH_BYTES:
                break  # an event larger than any batch travels alone
            parts.append(text)
            last = self._ahead.popleft().sequence
        return Batch(f"[{','.join(parts)}]".encode(), first, last, len(parts))

    def forget(self) -> None:
        """Read everything anew: what is ahead may not follow what will be sent next."""
        self._ahead.clear()


@dataclass(slots=True)
class Window:
    """Which sequences are sent and which are acknowledged. Times are monotonic seconds."""

    acknowledged: int = 0
    sent: int = 0  # up to here in this session, or since the last rewind
    highest_sent: int = 0  # in this process: no ack beyond it can be meant for us
    timeout_s: float = ACK_TIMEOUT_S
    limit: int = WINDOW_BATCHES
    under_way: deque[tuple[int, float]] = field(default_factory=deque)  # last sequence, sent at

    @property
    def open(self) -> bool:
        """Whether another batch may be sent."""
        return len(self.under_way) < self.limit

    @property
    def deadline_s(self) -> float | None:
        """When the oldest batch under way is given up; None when none is."""
        return self.under_way[0][1] + self.timeout_s if self.under_way else None

    def add(self, last: int, now_s: float) -> None:
        """A batch is about to be sent. Its ack may come before the sending returns."""
        self.under_way.append((last, now_s))
        self.sent = last
        self.highest_sent = max(self.highest_sent, last)

    def accepts(self, through: int) -> bool:
        """Whether an ack can be true: not beyond what was sent, and not of what is long done."""
        return self.acknowledged < through <= self.highest_sent

    def acknowledge(self, through: int, now_s: float) -> None:
        """Everything up to `through` is stored by the head-end."""
        self.acknowledged = through
        self.sent = max(self.sent, through)
        while self.under_way and self.under_way[0][0] <= through:
            self.under_way.popleft()
        # What is left gets its full time from here: the head-end is alive.
        self.under_way = deque((last, now_s) for last, _ in self.under_way)
        self.timeout_s = ACK_TIMEOUT_S
        self.limit = WINDOW_BATCHES

    def rewind(self) -> None:
        """A new session: send again from the last acknowledged sequence."""
        self.under_way.clear()
        self.sent = self.acknowledged

    def give_up(self) -> None:
        """No ack came in time: send again, one batch at a time and ever more seldom."""
        self.rewind()
        self.timeout_s = min(2 * self.timeout_s, LAST_ACK_TIMEOUT_S)
        self.limit = 1
