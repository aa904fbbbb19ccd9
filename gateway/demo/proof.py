"""Nothing was lost: for each account, four independent figures that must be one.

- the sum of its ledger entries,
- the balance the gateway shows,
- opening balance + recharges - bill(what its meter's register has risen),
- the head-end's copy, entry by entry.
"""

import asyncio
from dataclasses import dataclass

from gateway.core.tariff import bill, total_paise
from gateway.demo.town import Town
from gateway.headend.copy import HeadendCopy
from gateway.store import ledger, outbox

SETTLE_S = 30.0  # the most that the outbox may take to empty


@dataclass(frozen=True, slots=True)
class AccountProof:
    """The figures of one account; energies in Wh, money in paise."""

    account: str
    meter_wh: int  # what the meter itself shows
    charged_wh: int  # register of the last posting
    entries: int
    sum_paise: int
    balance_paise: int
    billed_paise: int  # opening + recharges - bill(register)
    copied_entries: int
    copied_paise: int
    copy_is_equal: bool

    @property
    def holds(self) -> bool:
        """Whether all figures agree."""
        one_balance = self.sum_paise == self.balance_paise == self.billed_paise == self.copied_paise
        return one_balance and self.copy_is_equal and self.meter_wh == self.charged_wh


@dataclass(frozen=True, slots=True)
class Proof:
    """All accounts, and whether anything still waits."""

    accounts: tuple[AccountProof, ...]
    waiting_events: int
    unsettled_recharges: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or left behind."""
        return (
            all(account.holds for account in self.accounts)
            and not self.waiting_events
            and not self.unsettled_recharges
        )


async def settle(town: Town, copy: HeadendCopy) -> None:
    """Stop the street's clock, read every meter once more, post, and let the outbox empty."""
    town.street.follow(asyncio.get_running_loop().time, 0.0)
    app, loop = town.app, asyncio.get_running_loop()
    stopped_s = loop.time()
    deadline_s = stopped_s + SETTLE_S
    while loop.time() < deadline_s:
        lives = list(app.books.live.accounts.values())
        if all((live.accepted_at_s or 0.0) > stopped_s for live in lives):
            break
        await asyncio.sleep(0.05)
    for name in list(app.books.live.accounts):
        await app.books.post(name)
    while loop.time() < deadline_s:
        _, last, _ = outbox.counts(app.db.reader)
        settled = not copy.open_notes(1)
        if settled and app.books.acknowledged >= last:
            break
        await asyncio.sleep(0.05)


def prove(town: Town, copy: HeadendCopy) -> Proof:
    """Compare the four figures of every account."""
    _, last, _ = outbox.counts(town.app.db.reader)
    gateway = town.config.gateway_id
    return Proof(
        accounts=tuple(_account(town, copy, name) for name in town.app.books.live.accounts),
        waiting_events=last - town.app.books.acknowledged,
        unsettled_recharges=sum(not note.settled for note in copy.notes(gateway)),
    )


def _account(town: Town, copy: HeadendCopy, name: str) -> AccountProof:
    reader, gateway = town.app.db.reader, town.config.gateway_id
    entries = list(ledger.entries_of(reader, name))
    book = ledger.load_book(reader, name)
    given_paise = sum(entry.amount_paise for entry in entries if entry.kind != "charge")
    copied = copy.entries(gateway, name)
    theirs = copy.accounts(gateway).get(name)
    return AccountProof(
        account=name,
        meter_wh=town.homes[name].meter.register_wh,
        charged_wh=book.register_wh,
        entries=len(entries),
        sum_paise=sum(entry.amount_paise for entry in entries),
        balance_paise=town.app.books.account(name).balance_paise,
        billed_paise=given_paise - total_paise(bill(town.plan.tariff, book.days)),
        copied_entries=len(copied),
        copied_paise=theirs.balance_paise if theirs else 0,
        copy_is_equal=copied == [ledger.as_event(entry) for entry in entries],
    )
