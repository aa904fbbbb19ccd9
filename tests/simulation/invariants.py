"""What must hold, whatever happens: each a function with one sentence, returning what breaks it.

`ON_COMMIT` are asked after each durable transaction with its new rows, `ON_MOVE` before each relay
movement, `ON_LOOK` whenever the auditor looks around, `AT_END` when all faults have ended and all
is settled. They know the truth of the simulated street and the committed journals; of the gateway's
memory they use only what they judge.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gateway.core.moment import Moment
from gateway.core.policy import Policy
from gateway.core.switching import MAX_OPERATIONS_PER_HOUR
from gateway.services.alarms import MAX_WAITING
from gateway.services.bookkeeping import FRESH_S
from gateway.services.outgoing import BATCH_EVENTS, WINDOW_EVENTS
from gateway.store import intervals, outbox
from gateway.store.ledger import Entry
from gateway.store.supply_log import SupplyRow
from hardware.api import Contact
from tests.simulation.card import BUS
from tests.simulation.homes import House
from tests.simulation.scenario import ZONE
from tests.simulation.world import GATEWAY

if TYPE_CHECKING:
    from tests.simulation.audit import Auditor

Breaks = Iterator[str]
OnCommit = Callable[["Auditor", list[Entry], list[SupplyRow]], Breaks]
OnMove = Callable[["Auditor", House, Contact], Breaks]
OnLook = Callable[["Auditor", House], Breaks]
Whole = Callable[["Auditor"], Breaks]

# Tasks of one gateway and its head-end; a leak of tasks is a leak of everything.
MAX_TASKS = 150
# From an order to the next look of every loop concerned, a slow card between them, and a driver
# that was gone for a while and is tried again every ten minutes.
SLACK_S = 60.0
RELAY_SLACK_S = 700.0


# --- after each commit ----------------------------------------------------------------------------


def entries_sum_to_the_balance(audit: "Auditor", entries: list[Entry], _: object) -> Breaks:
    """The sum of an account's entries is the balance that its last entry states."""
    for name in sorted({entry.account for entry in entries}):
        facts = audit.facts.of(name)
        if facts.sum_paise != facts.balance_paise:
            yield f"{name}: entries sum to {facts.sum_paise}, balance {facts.balance_paise}"


def charged_energy_is_the_registers(audit: "Auditor", entries: list[Entry], _: object) -> Breaks:
    """All energy ever charged is the register of the last posting less the opening register."""
    for name in sorted({entry.account for entry in entries}):
        facts = audit.facts.of(name)
        risen_wh = facts.register_wh - facts.opening_wh
        if abs(facts.energy_wh - risen_wh) > 1:
            yield f"{name}: {facts.energy_wh} Wh charged, register rose by {risen_wh} Wh"


def nothing_is_charged_that_did_not_flow(
    audit: "Auditor", entries: list[Entry], _: object
) -> Breaks:
    """A posted register is never above the meter's own, but for a jump within the stated limits."""
    for name in sorted({entry.account for entry in entries}):
        house, facts = audit.world.by_account[name], audit.facts.of(name)
        if house.register_untrue:
            continue
        house.meter.catch_up()
        above_wh = facts.register_wh - house.meter.register_wh
        if above_wh > 1 + house.spike_allowed_wh:
            yield f"{name}: posted {facts.register_wh} Wh, {above_wh} Wh above its meter"


def a_recharge_is_credited_once(audit: "Auditor", _e: object, _r: object) -> Breaks:
    """A recharge is in the ledger at most once, whatever road it came and however often."""
    while audit.facts.doubled:
        yield f"recharge {audit.facts.doubled.pop()} was credited twice"


def a_days_fixed_charge_is_due_once(audit: "Auditor", entries: list[Entry], _: object) -> Breaks:
    """A day's fixed charge is posted at most once."""
    for entry in entries:
        if entry.component == "fixed":
            days = audit.facts.of(entry.account).fixed_days[entry.day]
            if not 0 <= days <= 1:
                yield f"{entry.account}: fixed charge of {entry.day} stands {days} times"


def only_proven_days_are_due(audit: "Auditor", entries: list[Entry], _: object) -> Breaks:
    """A fixed charge is for a day that has ended by a proven clock, and by the true one."""
    for entry in entries:
        if entry.component != "fixed" or entry.quantity <= 0 or audit.play.tariff_moves:
            continue
        if entry.trust == "none" and not audit.world.proven_lately(entry.day):
            yield f"{entry.account}: fixed charge of {entry.day} without a proven time"
        today = audit.world.source.true_utc().astimezone(ZONE).date().isoformat()
        if entry.day >= today:
            yield f"{entry.account}: fixed charge of {entry.day}, and today is {today}"


def locks_are_lifted_by_people(audit: "Auditor", _: object, rows: list[SupplyRow]) -> Breaks:
    """A lineman's or officer's lock is lifted by a person, never by money or by the gateway."""
    for row in rows:
        if row.kind == "hold_lifted" and row.hold in ("LINEMAN_LOCK", "OFFICER_LOCK"):
            asked = row.reason == "relay test" or row.account in audit.play.asked_unlock
            if row.actor != "lineman" or not asked:
                yield f"{row.account}: {row.hold} lifted by {row.actor} ({row.reason})"


def no_hold_for_want_of_credit_with_credit_left(
    audit: "Auditor", _: object, rows: list[SupplyRow]
) -> Breaks:
    """Where NO_CREDIT is placed, the ledger says in the same transaction that credit is used up."""
    limit = audit.world.scenario.policy.credit_limit_paise
    for row in _cuts(rows):
        balance = audit.facts.of(row.account).balance_paise
        if balance > limit:
            yield f"{row.account}: NO_CREDIT at {balance} paise, limit {limit}"


def no_cut_in_protected_time(audit: "Auditor", _: object, rows: list[SupplyRow]) -> Breaks:
    """NO_CREDIT is placed only at a time and balance at which the policy allows the cut."""
    app = audit.world.app
    for row in _cuts(rows):
        balance = audit.facts.of(row.account).balance_paise
        if app is not None and not cut_allowed(
            audit.world.scenario.policy, balance, app.clock.now(), lenient_s=10
        ):
            yield f"{row.account}: cut at {balance} paise at {app.clock.now().utc}"


def no_cut_on_stale_data(audit: "Auditor", _: object, rows: list[SupplyRow]) -> Breaks:
    """NO_CREDIT is placed only on an accepted reading of the last minute."""
    app, now_s = audit.world.app, audit.world.loop.time()
    for row in _cuts(rows):
        live = app.books.live.accounts.get(row.account) if app is not None else None
        at_s = live.accepted_at_s if live is not None else None
        if at_s is None or now_s - at_s > FRESH_S + 5.0:
            yield f"{row.account}: cut on a reading of {at_s}, now {now_s}"
        elif at_s > audit.world.answered_at_s(row.account) + 3.0:
            yield f"{row.account}: cut on a reading that its meter never gave"


ON_COMMIT: tuple[OnCommit, ...] = (
    entries_sum_to_the_balance,
    charged_energy_is_the_registers,
    nothing_is_charged_that_did_not_flow,
    a_recharge_is_credited_once,
    a_days_fixed_charge_is_due_once,
    only_proven_days_are_due,
    locks_are_lifted_by_people,
    no_hold_for_want_of_credit_with_credit_left,
    no_cut_in_protected_time,
    no_cut_on_stale_data,
)


# --- before each movement of a relay --------------------------------------------------------------


def a_row_comes_before_the_movement(audit: "Auditor", house: House, to: Contact) -> Breaks:
    """Each relay operation has a committed row of its own before the relay moves."""
    facts = audit.facts.of(house.name)
    told, facts.told = facts.told, None
    if told != to.value:
        yield f"{house.name}: relay driven {to.value}, the journal says {told}"


def supply_is_connected_only_without_holds(audit: "Auditor", house: House, to: Contact) -> Breaks:
    """A relay is driven closed only while no committed hold stands, open only while one does."""
    holds = audit.facts.of(house.name).holds
    if (to is Contact.OPEN) != bool(holds):
        yield f"{house.name}: relay driven {to.value} with holds {sorted(holds)}"


def operations_are_bounded(audit: "Auditor", house: House, _: Contact) -> Breaks:
    """No relay is driven more often in an hour than it is built for, over restarts too."""
    seen = audit.seen[house.name]
    now_s = audit.world.loop.time()
    seen.moves_at_s.append(now_s)
    recent = sum(now_s - at_s < 3600 for at_s in seen.moves_at_s)
    if recent > MAX_OPERATIONS_PER_HOUR:
        yield f"{house.name}: {recent} relay operations within an hour"


ON_MOVE: tuple[OnMove, ...] = (
    a_row_comes_before_the_movement,
    supply_is_connected_only_without_holds,
    operations_are_bounded,
)


# --- at each look ---------------------------------------------------------------------------------


def no_supply_past_the_allowed_overdraft(audit: "Auditor", house: House) -> Breaks:
    """Supply is not connected longer than two polls past its credit while it may be cut."""
    world, app = audit.world, audit.world.app
    wrong = (
        app is not None
        and audit.relay_well(house)
        and audit.meter_well(house)
        and house.contact.closed
        and cut_allowed(
            world.scenario.policy,
            app.books.live.accounts[house.name].balance_paise,
            app.clock.now(),
        )
    )
    lasted_s = audit.lasts(house, "overdrawn", wrong=wrong)
    if lasted_s > 2 * world.scenario.quiet_poll_s + SLACK_S:
        yield f"{house.name}: connected {lasted_s:.0f} s past its credit"


def supply_comes_back(audit: "Auditor", house: House) -> Breaks:
    """A home without a hold has supply within moments, while its relay and the gateway work."""
    wrong = (
        not house.contact.closed and not audit.facts.of(house.name).holds
    ) and audit.relay_well(house)
    lasted_s = audit.lasts(house, "dark", wrong=wrong)
    if lasted_s > SLACK_S + audit.look_s:
        yield f"{house.name}: dark for {lasted_s:.0f} s and no hold stands"


def a_hold_is_enforced(audit: "Auditor", house: House) -> Breaks:
    """A home with a hold has no supply within moments, while its relay and the gateway work."""
    wrong = (house.contact.closed and audit.facts.of(house.name).holds) and audit.relay_well(house)
    lasted_s = audit.lasts(house, "held", wrong=bool(wrong))
    if lasted_s > SLACK_S + audit.look_s:
        yield f"{house.name}: connected for {lasted_s:.0f} s though a hold stands"


def a_well_meter_is_believed(audit: "Auditor", house: House) -> Breaks:
    """A meter that answers truly is read and believed again soon, whatever it did before."""
    app, seen, now_s = audit.world.app, audit.seen[house.name], audit.world.loop.time()
    house.meter.catch_up()
    seen.registers.append((now_s, house.meter.register_wh))
    patience_s = 6 * audit.world.scenario.quiet_poll_s + 1500.0
    if app is None or house.register_untrue or not audit.meter_well(house, for_s=patience_s):
        return
    known_wh = app.books.live.accounts[house.name].register_wh
    old = [wh for at_s, wh in seen.registers if at_s <= now_s - patience_s]
    if old and known_wh < old[-1] - 1:
        yield f"{house.name}: {known_wh} Wh known, its meter showed {old[-1]} Wh long ago"


ON_LOOK: tuple[OnLook, ...] = (
    no_supply_past_the_allowed_overdraft,
    supply_comes_back,
    a_hold_is_enforced,
    a_well_meter_is_believed,
)


def memory_is_bounded(audit: "Auditor") -> Breaks:
    """Queues, buffers and tasks stay within their bounds, however long whatever is away."""
    app = audit.world.app
    if app is None:
        return
    window = app.sync._window
    bounds = (
        ("events under way", window.sent - window.acknowledged, WINDOW_EVENTS + BATCH_EVENTS),
        ("events read ahead", len(app.sync._reader._ahead), BATCH_EVENTS),
        ("alarms waiting", len(app.alarms._waiting), MAX_WAITING),
        ("alarms standing", len(app.alarms.standing()), 4 * len(audit.world.houses) + 4),
        ("postings due", len(app.books._due), len(audit.world.houses)),
        ("urgent reads", len(app.buses[BUS]._urgent), 256),
        ("tasks", audit.tasks(), MAX_TASKS),
    )
    for what, count, bound in bounds:
        if count > bound:
            yield f"{count} {what}, at most {bound} are allowed"


def files_are_bounded(audit: "Auditor") -> Breaks:
    """Interval readings keep to their number of rows, and the write-ahead log to its size."""
    app = audit.world.app
    if app is None:
        return
    rows = app.db.reader.execute("SELECT max(rowid) - min(rowid) FROM intervals").fetchone()[0]
    if (rows or 0) > intervals.KEEP_ROWS:
        yield f"{rows} rows of intervals are kept"
    log = app.db.path.with_name(app.db.path.name + "-wal")
    if log.exists() and log.stat().st_size > 64_000_000:
        yield f"the write-ahead log has {log.stat().st_size} bytes"


def the_gateway_does_not_end_by_itself(audit: "Auditor") -> Breaks:
    """No fault ends the process, and nobody's wish meets an error that is none of ours."""
    while audit.world.lived_badly:
        yield f"the gateway ended: {audit.world.lived_badly.pop()}"


WHOLE: tuple[Whole, ...] = (
    memory_is_bounded,
    files_are_bounded,
    the_gateway_does_not_end_by_itself,
)


# --- when all is settled --------------------------------------------------------------------------


def the_outbox_is_empty(audit: "Auditor") -> Breaks:
    """A minute after the faults have ended nothing waits for the head-end."""
    app = audit.world.app
    if app is None:
        yield "the gateway does not run"
        return
    _, newest, _ = outbox.counts(app.db.reader)
    if app.books.acknowledged < newest:
        yield f"{newest - app.books.acknowledged} events wait"


def the_copy_is_the_ledger(audit: "Auditor") -> Breaks:
    """The head-end's balances and entries are the gateway's, to the last one."""
    copies = audit.world.copy.accounts(GATEWAY)
    for name, facts in audit.facts.accounts.items():
        there = copies.get(name)
        if there is None:
            yield f"{name}: the head-end knows nothing of it"
        elif (there.balance_paise, there.sum_paise, there.entries) != (
            facts.balance_paise,
            facts.sum_paise,
            facts.entries,
        ):
            yield f"{name}: head-end {there}, ledger {facts.balance_paise} in {facts.entries}"


def every_recharge_has_arrived(audit: "Auditor") -> Breaks:
    """Each recharge that was sold is in the ledger, and the head-end knows what became of it."""
    for note in audit.world.copy.notes(GATEWAY):
        if audit.facts.recharges.get(note.recharge_id) != note.amount_paise:
            what = f"recharge {note.recharge_id} is not in the ledger: {note.outcome}"
            yield f"{note.account}: {what}"
        elif not note.settled:
            yield f"{note.account}: the head-end has no receipt of {note.recharge_id}"


def the_last_register_is_charged(audit: "Auditor") -> Breaks:
    """At the end all that has flowed is charged, to the Wh, whatever was lost on the way."""
    for house in audit.world.houses:
        facts = audit.facts.of(house.name)
        above_wh = facts.register_wh - house.meter.register_wh
        allowed_wh = house.spike_allowed_wh + 1
        if not house.register_untrue and not -1 <= above_wh <= allowed_wh:
            yield f"{house.name}: charged to {facts.register_wh}, meter {house.meter.register_wh}"


AT_END: tuple[Whole, ...] = (
    the_outbox_is_empty,
    the_copy_is_the_ledger,
    every_recharge_has_arrived,
    the_last_register_is_charged,
)


# --- the policy, once more ------------------------------------------------------------------------


def cut_allowed(policy: Policy, balance_paise: int, now: Moment, *, lenient_s: int = 0) -> bool:
    """Whether the rules allow a cut; written apart from the product's own judgement.

    `lenient_s` widens the window at its end: a decision is written some moments after it is made.
    """
    limit = policy.credit_limit_paise
    if balance_paise > limit:
        return False
    if policy.cut_window is None and not policy.holidays:
        return True
    if not now.proven:
        return balance_paise <= limit - policy.unknown_time_overdraft_paise
    local = now.utc.astimezone(ZONE)
    if local.date() in policy.holidays:
        return False
    window = policy.cut_window
    if window is None:
        return True
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[local.weekday()]
    second = local.hour * 3600 + local.minute * 60 + local.second
    start = window.start.hour * 3600 + window.start.minute * 60
    end = window.end.hour * 3600 + window.end.minute * 60
    inside = start <= second < end + lenient_s
    return inside and day in [each.value for each in window.weekdays]


def _cuts(rows: list[SupplyRow]) -> Iterator[SupplyRow]:
    for row in rows:
        if row.kind == "hold_placed" and row.hold == "NO_CREDIT":
            yield row
