"""The one function by which credit enters, whatever road it came: MQTT, file, code or token.

Verify the received bytes, then parse; credit at most once for ever; answer with a receipt that is
written in the same transaction as the credit. What is refused is answered too, but at a bounded
rate: whoever floods the gateway with forgeries must not wear out its card.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.moment import Moment
from gateway.core.policy import may_cut
from gateway.core.recharge import Outcome, Recharge, assess
from gateway.core.supply import Hold, HoldChange, credit_hold
from gateway.documents.signed import NoteError, read_recharge, verify
from gateway.services.bookkeeping import Bookkeeper, Change
from gateway.services.posting import HoldMove, Posting, receipt
from gateway.store import ledger, outbox
from gateway.store.database import Transaction

log = logging.getLogger(__name__)

NOTE_TYPE = "recharge+jws"
# Answers that credit nothing, each a card write: this many at once, then one in so many seconds.
ANSWERS_AT_ONCE = 60
ANSWER_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a note: its outcome, and the receipt or refusal in the head-end's words."""

    outcome: Outcome
    body: Mapping[str, Any]


class Recharging:
    """Applies signed recharges to the ledger."""

    def __init__(self, books: Bookkeeper, gateway: str, keys: Mapping[str, bytes]) -> None:
        self._books = books
        self._gateway = gateway
        self._keys = keys
        self._answers_left = float(ANSWERS_AT_ONCE)
        self._answers_at_s: float | None = None
        self.refused = 0  # notes that credited nothing since the start, for status

    async def apply(self, note: bytes, road: str) -> Answer:
        """Apply a compact JWS. Raises `StoreError` only; then nothing was credited."""
        try:
            recharge = read_recharge(verify(note, self._keys, NOTE_TYPE))
        except NoteError as error:
            return await self._refuse(note, error, road)
        posting: list[Posting] = []
        answer = await self._books.transact(lambda now: self._prepare(recharge, road, now, posting))
        if posting:
            self._books.holds_changed.set()
        if answer.outcome.final:
            log.info("recharge %s: %s", recharge.recharge_id, answer.outcome.value)
        else:
            self.refused += 1
            log.warning("recharge %s: %s", recharge.recharge_id, answer.outcome.value)
        return answer

    def _prepare(
        self, recharge: Recharge, road: str, now: Moment, posted: list[Posting]
    ) -> Change[Answer]:
        reader, live = self._books.db.reader, self._books.live.accounts.get(recharge.account)
        before = ledger.applied(reader, recharge.recharge_id)
        outcome = assess(
            recharge,
            gateway=self._gateway,
            account_open=live is not None,
            before=before,
            reversed_entry=ledger.applied(reader, recharge.reverses) if recharge.reverses else None,
        )
        if outcome is Outcome.CREDITED and live is not None:
            posting = self._posting_with(self._books.posting_of(live, now), recharge, road)
            posted.append(posting)
            change = self._books.change_of(posting)

            def write(tx: Transaction) -> Answer:
                return Answer(Outcome.CREDITED, change.write(tx).receipt or {})

            return Change(write, lambda _: change.then(posting))
        body = receipt(
            recharge,
            outcome,
            road,
            balance_paise=before.balance_paise if before else live.balance_paise if live else None,
            holds=live.holds if live else frozenset(),
            ledger_seq=before.ledger_seq if before else None,
        )
        answers = self._may_answer()

        def write_answer(tx: Transaction) -> Answer:
            if answers:
                outbox.put(tx, "recharge.receipt", recharge.account, body, now)
            return Answer(outcome, body)

        return Change(write_answer, lambda _: None)

    def _posting_with(self, posting: Posting, recharge: Recharge, road: str) -> Posting:
        """Add the credit and lift NO_CREDIT by the new balance; a cut waits for a reading."""
        posting.recharge, posting.road = recharge, road
        balance_paise = posting.book.balance_paise
        policy = self._books.policy
        permission = may_cut(policy, balance_paise, posting.now, self._books.zone)
        change = credit_hold(
            posting.live.holds, balance_paise, policy.credit_limit_paise, permission
        )
        if change is HoldChange.LIFT:
            reason = f"recharge {recharge.recharge_id}"
            posting.moves = (HoldMove(Hold.NO_CREDIT, placed=False, reason=reason, actor=road),)
        return posting

    async def _refuse(self, note: bytes, error: NoteError, road: str) -> Answer:
        """Tell the head-end of a note that proves nothing, by its digest; at a bounded rate."""
        self.refused += 1
        log.warning("refused a note by %s: %s: %s", road, error.outcome.value, error)
        body = {
            "outcome": error.outcome.value,
            "digest": hashlib.sha256(note).hexdigest(),
            "road": road,
            "detail": str(error),
        }
        if self._may_answer():

            def prepare(now: Moment) -> Change[int]:
                return Change(
                    lambda tx: outbox.put(tx, "recharge.rejected", "recharges", body, now),
                    lambda _: None,
                )

            await self._books.transact(prepare)
        return Answer(error.outcome, body)

    def _may_answer(self) -> bool:
        """A token bucket over answers that credit nothing."""
        now_s = asyncio.get_running_loop().time()
        if self._answers_at_s is not None:
            earned = (now_s - self._answers_at_s) / ANSWER_EVERY_S
            self._answers_left = min(ANSWERS_AT_ONCE, self._answers_left + earned)
        self._answers_at_s = now_s
        if self._answers_left < 1:
            return False
        self._answers_left -= 1
        return True
