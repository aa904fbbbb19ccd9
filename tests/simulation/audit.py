"""The auditor: looks on, remembers, and asks the invariants after every step.

Rules of this file: it changes nothing in the world. What it finds is kept with its time.
"""

import asyncio
import json

from gateway.core.moment import Trust
from gateway.link.api import Message
from hardware.api import Contact
from tests.simulation import invariants
from tests.simulation.facts import Facts, Seen
from tests.simulation.homes import House
from tests.simulation.play import Play
from tests.simulation.world import World

MOST_VIOLATIONS = 20
# After a boot or a repair, how long until a judgement of supply is fair.
SETTLE_S = 200.0


class Auditor:
    """Watches a world that is played."""

    def __init__(self, world: World, play: Play) -> None:
        self.world = world
        self.play = play
        self.facts = Facts()
        self.seen = {house.name: Seen() for house in world.houses}
        self.violations: list[tuple[float, str, str]] = []
        self.receipts_left: set[str] = set()
        self.checks = 0
        self._image: Facts | None = None
        self._line_ill_until_s = 0.0
        world.on_commit = self._committed
        world.on_move = self._moves
        world.on_boot = self._booted
        world.broker.heard = self._heard
        play.on_image = self._saved
        play.on_restore = self._restored

    # --- what the world tells ---------------------------------------------------------------------

    def _committed(self) -> None:
        app = self.world.app
        if app is None:
            return
        self.world.note_proven_day()
        entries, rows = self.facts.read(app.db.reader)
        if not entries and not rows:
            return
        say = self.world.say
        for entry in entries:
            what = f"{entry.kind} {entry.component or entry.recharge_id or ''} {entry.day}"
            money = f"{entry.amount_paise} -> {entry.balance_paise}"
            say(entry.account, f"{what} {entry.quantity} {money}")
        for row in rows:
            say(row.account, f"{row.kind} {row.hold or row.position} by {row.actor} ({row.reason})")
        for check in invariants.ON_COMMIT:
            self.checks += 1
            for text in check(self, entries, rows):
                self._found(check.__name__, text)

    def _moves(self, account: str, to: Contact) -> None:
        house = self.world.by_account[account]
        for check in invariants.ON_MOVE:
            self.checks += 1
            for text in check(self, house, to):
                self._found(check.__name__, text)

    def _heard(self, message: Message) -> None:
        self.world.moment_for_crash("publish")
        if (
            message.topic != self.world.broker.topics.events
            or b"recharge.receipt" not in message.body
        ):
            return
        for event in json.loads(message.body):
            if event["type"] == "recharge.receipt" and event["data"]["outcome"] == "CREDITED":
                recharge = event["data"]["recharge_id"]
                self.receipts_left.add(recharge)
                if recharge not in self.facts.recharges and not self.play.restored:
                    self._found("no_receipt_before_the_commit", recharge)

    def _booted(self) -> None:
        """What was committed is there, all of it, and nothing else."""
        app = self.world.app
        if app is None:
            return
        fresh = Facts()
        fresh.read(app.db.reader)
        self.checks += 1
        told = {name: (each.sum_paise, each.entries, sorted(each.holds))
                for name, each in self.facts.accounts.items()}  # fmt: skip
        there = {name: (each.sum_paise, each.entries, sorted(each.holds))
                 for name, each in fresh.accounts.items()}  # fmt: skip
        if self.facts.accounts and told != there:
            self._found("what_was_committed_is_there", f"{told} became {there}")
        fresh.doubled.clear()
        if not self.facts.accounts:
            self.facts = fresh
        lost = self.receipts_left - set(fresh.recharges)
        if lost and not self.play.restored:
            self._found("no_credit_is_lost_after_its_receipt", ", ".join(sorted(lost)))
        for seen in self.seen.values():
            seen.since_s.clear()

    def _saved(self) -> None:
        self._image = self.facts.kept()

    def _restored(self) -> None:
        if self._image is not None:
            self.facts, self._image = self._image, None

    # --- looking around ---------------------------------------------------------------------------

    @property
    def look_s(self) -> float:
        """How often it looks now."""
        return self.world.scenario.quiet_poll_s if self.world.quiet else 10.0

    async def run(self) -> None:
        """Look around until cancelled."""
        while True:
            await asyncio.sleep(self.look_s)
            self.look()

    def look(self) -> None:
        """One look at everything."""
        world = self.world
        world.note_proven_day()
        if world.slaves.faults.any or world.line.wire.noise.flip_ppm or not world.line.plugged:
            self._line_ill_until_s = world.loop.time() + 900.0
        for house in world.houses:
            faults = house.meter.faults
            if faults.dead or faults.stuck:
                house.meter_ill_until_s = world.loop.time() + 900.0
            for check in invariants.ON_LOOK:
                for text in check(self, house):
                    self._found(check.__name__, text)
        for check in invariants.WHOLE:
            for text in check(self):
                self._found(check.__name__, text)
        self.checks += len(invariants.ON_LOOK) * len(world.houses) + len(invariants.WHOLE)

    def at_end(self) -> None:
        """When all should be settled."""
        self._committed()
        for check in invariants.AT_END:
            self.checks += 1
            for text in check(self):
                self._found(check.__name__, text)

    # --- what invariants ask ----------------------------------------------------------------------

    def lasts(self, house: House, what: str, *, wrong: bool) -> float:
        """For how long something has been wrong with a home, 0 when it is not."""
        since = self.seen[house.name].since_s
        if not wrong:
            since.pop(what, None)
            return 0.0
        now_s = self.world.loop.time()
        return now_s - since.setdefault(what, now_s)

    def relay_well(self, house: House) -> bool:
        """Whether a relay and the gateway that drives it have worked for a while."""
        world, now_s = self.world, self.world.loop.time()
        consumer = world.scenario.consumers[house.number - 1]
        return (
            consumer.switched
            and world.app is not None
            and not world.disk_full
            and not house.relay_broken
            and now_s - house.relay_repaired_at_s > invariants.RELAY_SLACK_S
            and now_s - world.booted_at_s > SETTLE_S
        )

    def meter_well(self, house: House, for_s: float = 0.0) -> bool:
        """Whether a meter, its line and the gateway have worked for a while."""
        world, now_s = self.world, self.world.loop.time()
        if house.spike_allowed_wh and self._above(house):
            return False  # a believed spike is waited for: its meter has still to reach it
        return (
            world.app is not None
            and not world.disk_full
            and now_s - world.booted_at_s > SETTLE_S + for_s
            and now_s > house.meter_ill_until_s + for_s
            and now_s > self._line_ill_until_s + for_s
            and not house.register_untrue
        )

    def _above(self, house: House) -> bool:
        app = self.world.app
        live = app.books.live.accounts.get(house.name) if app is not None else None
        return live is not None and live.register_wh > house.meter.register_wh

    def tasks(self) -> int:
        """Tasks at work, but for those of ended lives and of the play itself."""
        life = self.world.life
        return len(life.tasks()) if life is not None else 0

    def proven(self) -> bool:
        """Whether the gateway has a proven time."""
        app = self.world.app
        return app is not None and app.clock.now().trust > Trust.NONE

    def _found(self, name: str, text: str) -> None:
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append((self.world.elapsed_s, name, text))
            self.world.say("VIOLATION", f"{name}: {text}")
