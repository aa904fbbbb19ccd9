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
# Events sent and not acknowledged: four full batches. Two keep a link busy while the head-end
# commits; four cover one that commits slowly. Counted in events, so that a receipt goes out at once
# also to a head-end that has not acknowledged the few before it.
WINDOW_EVENTS = 4 * BATCH_EVENTS
# The head-end acknowledges after one commit. Without an ack in this time the oldest batch is sent
# again, then at growing intervals; the others follow when it is acknowledged. A broker would queue
# every copy for an absent head-end.
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
        self._position = -1  # the sequence after which they follow

    def next(self, after: int) -> Batch | None:
        """The batch that follows sequence `after`; None when nothing waits."""
        if after != self._position:
            self._ahead.clear()
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
        self._position = last
        return Batch(f"[{','.join(parts)}]".encode(), first, last, len(parts))


@dataclass(slots=True)
class Window:
    """Which sequences are sent and which are acknowledged. Times are monotonic seconds."""

    acknowledged: int = 0
    sent: int = 0  # up to here in this session, or since the last rewind
    highest_sent: int = 0  # in this process: no ack beyond it can be meant for us
    timeout_s: float = ACK_TIMEOUT_S
    resume_after: int | None = None  # where to go on once the oldest batch has been sent again
    in_doubt: bool = False  # no ack came in time: what was sent since may be lost
    under_way: deque[tuple[int, float]] = field(default_factory=deque)  # last sequence, sent at

    @property
    def open(self) -> bool:
        """Whether another batch may be sent."""
        return self.resume_after is not None or self.sent - self.acknowledged < WINDOW_EVENTS

    @property
    def deadline_s(self) -> float | None:
        """When the oldest batch under way is given up; None when none is."""
        return self.under_way[0][1] + self.timeout_s if self.under_way else None

    def add(self, last: int, now_s: float) -> None:
        """A batch is about to be sent. Its ack may come before the sending returns."""
        self.under_way.append((last, now_s))
        self.sent = max(last, self.resume_after or 0)
        self.resume_after = None
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
        if self.in_doubt:
            self.rewind()

    def rewind(self) -> None:
        """A new session: send again from the last acknowledged sequence."""
        self.under_way.clear()
        self.sent = self.acknowledged
        self.resume_after, self.in_doubt = None, False

    def give_up(self) -> None:
        """No ack came in time: send the oldest batch again, ever more seldom, and go on."""
        self.under_way.clear()
        self.resume_after = max(self.resume_after or 0, self.sent)
        self.in_doubt = True
        self.sent = self.acknowledged
        self.timeout_s = min(2 * self.timeout_s, LAST_ACK_TIMEOUT_S)
