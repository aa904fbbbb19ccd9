"""The people and the faults of a scenario: what happens to a world, and when.

Each act says in the trace what it did. Every fault ends by itself, the last ones by
`end_of_faults`.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from gateway.core.errors import GatewayError
from gateway.core.moment import Trust
from gateway.core.register import UNKNOWN_GAP_S, RegisterLimits
from gateway.core.tariff import Tariff
from tests.simulation.edges import FrameFaults
from tests.simulation.homes import House
from tests.simulation.scenario import DAY_S, Fault, Kind, Scenario, corrected
from tests.simulation.world import RESTART_S, World

# What befalls one home and not the line.
ONE_HOME = frozenset(
    (Kind.METER_DEAD, Kind.METER_REBOOT, Kind.METER_SPIKE, Kind.METER_STUCK, Kind.METER_SWAP,
     Kind.RELAY_WELD, Kind.RELAY_OPEN, Kind.RELAY_GONE, Kind.LOCK, Kind.RELAY_TEST, Kind.TYPED)
)  # fmt: skip

Act = Callable[[Fault, random.Random, House], Awaitable[None] | None]


class Play:
    """Plays a scenario on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scenario: Scenario = world.scenario
        self.over = False  # no more faults
        self.tariff: Tariff = world.scenario.tariff
        self.asked_unlock: set[str] = set()  # accounts whose lock a person wants lifted
        self.restored = 0
        self.tariff_moves = False  # lines of the month so far may be given back and posted anew
        self._running: set[asyncio.Task[None]] = set()
        self._image_at_s: float | None = None
        self._acts: dict[Kind, Act] = {
            kind: getattr(self, f"_{kind.name.lower()}") for kind in Kind
        }

    async def faults(self) -> None:
        """Everything in the scenario's list, at its time."""
        world = self.world
        for fault in self.scenario.faults:
            await asyncio.sleep(max(0.0, fault.at_s - world.elapsed_s))
            house = world.houses[fault.home - 1]
            world.fault(fault.kind.value, house.name)
            world.be_busy(6, house if fault.kind in ONE_HOME else None)
            chance = random.Random(f"{self.scenario.seed}/act/{fault.kind.value}/{fault.dice}")
            doing = self._acts[fault.kind](fault, chance, house)
            if doing is not None:
                self._start(doing)

    def _start(self, doing: Awaitable[None]) -> None:
        task = asyncio.ensure_future(doing)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def keep_alive(self) -> None:
        """Systemd: start the gateway again after a while, whatever ended it."""
        world = self.world
        chance = random.Random(f"{self.scenario.seed}/restarts")
        while True:
            await world.down.wait()
            await asyncio.sleep(chance.uniform(*RESTART_S))
            world.crash_at = None
            if world.app is None:
                world.boot()

    async def end_of_faults(self) -> None:
        """Everything is repaired; what has not ended by itself ends now."""
        self.over = True
        for task in sorted(self._running, key=lambda task: task.get_name()):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        world = self.world
        world.crash_at = None
        if world.runner is not None:
            world.runner.die_before = world.runner.die_after = False
        world.slaves.faults = FrameFaults()
        world.line.wire.noise.flip_ppm = world.line.wire.noise.drop_ppm = 0
        world.line.replug()
        world.fill_disk(full=False)
        weather = world.broker.weather
        weather.doubled = weather.late = 0
        weather.acks_lost = weather.acks_doubled = False
        world.source.error = timedelta()
        world.source.believed = Trust.NTP
        for house in world.houses:
            house.meter.faults.dead = house.meter.faults.stuck = False
            self._repair(house)
        world.say("END", "of faults")

    # --- consumers --------------------------------------------------------------------------------

    async def consumer(self, house: House) -> None:
        """Pay some time after the credit is used up, as households do; now and then before."""
        world, consumer = self.world, self.scenario.consumers[house.number - 1]
        chance = random.Random(f"{self.scenario.seed}/pays/{house.number}")
        while not self.over:
            await asyncio.sleep(chance.expovariate(1 / (consumer.patience_h * 3600)) + 600.0)
            app = world.app
            if app is None or self.over:
                continue
            live = app.books.live.accounts.get(house.name)
            wants = live is not None and live.balance_paise <= 500
            if wants or chance.random() < 0.02:
                self.pay(house, consumer.topup_paise * chance.randrange(1, 4))

    def pay(self, house: House, amount_paise: int) -> None:
        """Buy a recharge at the head-end."""
        note = self.world.issuer.recharge("GW-1", house.name, amount_paise)
        self.world.say(house.name, f"buys {amount_paise} {note.recharge_id}")
        self.world.be_busy(3, house)
        self.world.collector.issued.set()

    # --- the line ---------------------------------------------------------------------------------

    async def _frames(self, fault: Fault, chance: random.Random, house: House) -> None:
        faults = FrameFaults(*(chance.choice((0, 0, 50, 300, 800)) for _ in range(5)))
        self.world.slaves.faults = faults
        self.world.say("LINE", str(faults))
        await asyncio.sleep(chance.uniform(60.0, 7200.0))
        self.world.slaves.faults = FrameFaults()

    async def _noise(self, fault: Fault, chance: random.Random, house: House) -> None:
        noise = self.world.line.wire.noise
        noise.flip_ppm, noise.drop_ppm = chance.randrange(20_000), chance.randrange(5_000)
        await asyncio.sleep(chance.uniform(60.0, 3600.0))
        noise.flip_ppm = noise.drop_ppm = 0

    async def _port(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.line.unplug()
        try:
            await asyncio.sleep(chance.choice((1.0, 30.0, 600.0, 20_000.0)))
        finally:
            self.world.line.replug()
        self._ill_until(*self.world.houses)

    async def _meter_dead(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.meter.faults.dead = True
        try:
            await asyncio.sleep(chance.choice((10.0, 300.0, 7200.0, 2 * DAY_S, 10 * DAY_S)))
        finally:
            house.meter.faults.dead = False
            self._ill_until(house)

    def _meter_reboot(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.meter.catch_up()
        house.meter.reboot(chance.choice((3.4, 100.0, 400.0)))
        self._ill_until(house, for_s=500.0)

    def _meter_spike(self, fault: Fault, chance: random.Random, house: House) -> None:
        meter = house.meter
        meter.catch_up()
        meter.spike_wh = chance.choice((900, 15_000, 80_000, 3_000_000))
        for_s = chance.choice((1.0, 8.0, 100.0, 280.0))
        meter.spike_until_ms = meter.now_ms() + int(for_s * 1000)
        self._ill_until(house, for_s=for_s + 600.0)
        self.world.say(house.name, f"shows {meter.spike_wh} Wh too much for {for_s} s")
        if meter.spike_wh <= self._believable_wh(house):
            house.spike_allowed_wh = max(house.spike_allowed_wh, meter.spike_wh)

    def _believable_wh(self, house: House) -> int:
        """How much too much the product's stated limits may take for the truth."""
        app, limits = self.world.app, RegisterLimits()
        live = app.books.live.accounts.get(house.name) if app is not None else None
        gap_s = UNKNOWN_GAP_S
        if live is not None and live.accepted_at_s is not None:
            gap_s = self.world.loop.time() - live.accepted_at_s + 600.0
        return limits.prompt_wh + limits.burst_wh + int(limits.max_w * gap_s / 3600 * 1.25)

    async def _meter_stuck(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.meter.catch_up()
        house.meter.get_stuck()
        try:
            await asyncio.sleep(chance.choice((600.0, DAY_S)))
        finally:
            house.meter.faults.stuck = False
            self._ill_until(house)

    def _meter_swap(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.meter.catch_up()
        register_wh = house.meter.register_wh
        new_wh = chance.choice((0, 10_000, register_wh + 500_000, register_wh + 40_000_000))
        house.meter.swap(str(int(house.meter.serial) + 1), new_wh)
        house.register_untrue = True
        self.world.say(house.name, f"has a new meter at {new_wh} Wh")

    async def _power(self, fault: Fault, chance: random.Random, house: House) -> None:
        for each in self.world.houses:
            each.meter.faults.dead = True
        try:
            await asyncio.sleep(chance.choice((20.0, 1800.0, 30_000.0)))
        finally:
            for each in self.world.houses:
                each.meter.faults.dead = False
            self._ill_until(*self.world.houses)

    def _ill_until(self, *houses: House, for_s: float = 900.0) -> None:
        until_s = self.world.loop.time() + for_s
        for house in houses:
            house.meter_ill_until_s = max(house.meter_ill_until_s, until_s)

    # --- relays -----------------------------------------------------------------------------------

    async def _relay_weld(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.relay_broken = True
        house.contact.weld()
        await asyncio.sleep(chance.choice((3600.0, DAY_S)))
        self._repair(house)

    async def _relay_open(self, fault: Fault, chance: random.Random, house: House) -> None:
        house.relay_broken = True
        house.contact.stick_open()
        await asyncio.sleep(chance.choice((600.0, 8000.0)))
        self._repair(house)

    async def _relay_gone(self, fault: Fault, chance: random.Random, house: House) -> None:
        switch = self.world.switches.get(house.name)
        if switch is None:
            return
        house.relay_broken = True
        switch.broken = True
        await asyncio.sleep(chance.choice((5.0, 1200.0, 10_000.0)))
        self._repair(house)

    def _repair(self, house: House) -> None:
        if house.relay_broken:
            house.relay_broken = False
            house.relay_repaired_at_s = self.world.loop.time()
            house.contact.repair()
            switch = self.world.switches.get(house.name)
            if switch is not None:
                switch.broken = False
            self.world.say(house.name, "relay repaired")

    # --- link and head-end ------------------------------------------------------------------------

    async def _broker_down(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.broker.go_down(forget=chance.random() < 0.5)
        await asyncio.sleep(chance.choice((30.0, 3600.0, DAY_S, 5 * DAY_S)))
        self.world.broker.come_up()

    def _link_break(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.broker.hang_up(chance.choice(("gateway", "headend")))

    async def _messages(self, fault: Fault, chance: random.Random, house: House) -> None:
        weather = self.world.broker.weather
        weather.doubled, weather.late = chance.choice((0, 200, 800)), chance.choice((0, 200, 800))
        weather.late_by_s = chance.choice((10.0, 3600.0, 3 * DAY_S))
        await asyncio.sleep(chance.uniform(600.0, DAY_S))
        weather.doubled = weather.late = 0

    async def _acks(self, fault: Fault, chance: random.Random, house: House) -> None:
        weather = self.world.broker.weather
        weather.acks_lost = chance.random() < 0.5
        weather.acks_doubled = not weather.acks_lost
        await asyncio.sleep(chance.choice((300.0, 7200.0, DAY_S)))
        weather.acks_lost = weather.acks_doubled = False

    def _headend_restart(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.broker.hang_up("headend")

    # --- the process and its disk -----------------------------------------------------------------

    def _crash(self, fault: Fault, chance: random.Random, house: House) -> None:
        what = chance.choice(("now", "commit", "move", "publish", "reading", "recharge"))
        steps = chance.choice((1, 2, 3, 5, 8, 20))
        if what == "now":
            self.world.loop.after_steps(steps, lambda: self.world.kill("at some step"))
        else:
            self.world.crash_at = (what, steps)

    def _crash_commit(self, fault: Fault, chance: random.Random, house: House) -> None:
        if self.world.runner is not None:
            before = chance.random() < 0.5
            self.world.runner.die_before, self.world.runner.die_after = before, not before

    async def _stop(self, fault: Fault, chance: random.Random, house: House) -> None:
        await self.world.stop()

    async def _disk_full(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.fill_disk(full=True)
        await asyncio.sleep(chance.choice((20.0, 900.0, 40_000.0)))
        self.world.fill_disk(full=False)
        self._ill_until(*self.world.houses)

    async def _image(self, fault: Fault, chance: random.Random, house: House) -> None:
        """The card is copied now; some time later the copy is put in its place."""
        if self._image_at_s is not None or self.world.app is None:
            return
        self.world.save_image()
        self._image_at_s = self.world.elapsed_s
        self.on_image()
        self.world.say("IMAGE", "saved")
        await asyncio.sleep(chance.choice((600.0, 20_000.0, 3 * DAY_S)))
        self.world.kill("for the old card")
        self.world.put_image_back()
        self.restored += 1
        self._image_at_s = None
        self.on_restore()
        self.world.say("IMAGE", "put back")

    def on_image(self) -> None:
        """The auditor remembers what it knew."""

    def on_restore(self) -> None:
        """The auditor knows again what it knew."""

    # --- time -------------------------------------------------------------------------------------

    async def _clock_step(self, fault: Fault, chance: random.Random, house: House) -> None:
        """The system clock is wrong by years; nobody vouches for it."""
        source = self.world.source
        source.believed = Trust.NONE
        source.error = timedelta(days=chance.choice((-9000, -400, -1, 1, 35, 400, 4000)))
        await asyncio.sleep(chance.choice((300.0, 7200.0, DAY_S)))
        source.error, source.believed = timedelta(), Trust.NTP

    async def _time_gone(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.world.source.believed = Trust.NONE
        if chance.random() < 0.5:
            self.world.kill("power cut, and no time after it")
        await asyncio.sleep(chance.choice((600.0, 30_000.0, 3 * DAY_S)))
        self.world.source.believed = chance.choice((Trust.NTP, Trust.RTC))

    # --- people -----------------------------------------------------------------------------------

    async def _lock(self, fault: Fault, chance: random.Random, house: House) -> None:
        await self._try(lambda: self._lineman().lock(house.name, "works on the line"))
        await asyncio.sleep(chance.choice((120.0, 3600.0, 20_000.0)))
        self.asked_unlock.add(house.name)
        for _ in range(20):
            if await self._try(lambda: self._lineman().unlock(house.name, "work done")):
                return
            await asyncio.sleep(120.0)

    async def _relay_test(self, fault: Fault, chance: random.Random, house: House) -> None:
        await self._try(lambda: self._lineman().test(house.name, lambda _: None))

    async def _tariff(self, fault: Fault, chance: random.Random, house: House) -> None:
        self.tariff_moves = True
        self.tariff = corrected(self.scenario, fault.dice)
        await self._try(lambda: self._app().commissioning.load_tariff(self.tariff))

    def _reversal(self, fault: Fault, chance: random.Random, house: House) -> None:
        notes = [note for note in self.world.copy.notes("GW-1") if note.amount_paise > 0]
        if notes:
            with contextlib.suppress(GatewayError):
                note = self.world.issuer.reversal(chance.choice(notes).recharge_id)
                self.world.say(note.account, f"reversal {note.amount_paise} {note.recharge_id}")

    async def _typed(self, fault: Fault, chance: random.Random, house: House) -> None:
        notes = self.world.copy.notes("GW-1")
        if notes:
            note = chance.choice(notes[-3:])
            await self._try(lambda: self._app().recharging.apply(note.note.encode(), "typed"))

    def _app(self):
        if self.world.app is None:
            raise GatewayError("the gateway does not run")
        return self.world.app

    def _lineman(self):
        self._app()
        return self.world.lineman

    async def _try(self, ask: Callable[[], Awaitable[object]]) -> bool:
        """A person asks the gateway for something; the answer may be no, or never come."""
        life = self.world.life
        if life is None:
            return False

        async def asked() -> None:
            await ask()

        task = life.start(asked(), "a wish")
        done, _ = await asyncio.wait([task], timeout=120.0)
        if not done:
            return False
        return not task.cancelled() and self._answered(task.exception())

    def _answered(self, error: BaseException | None) -> bool:
        if error is None:
            return True
        if not isinstance(error, GatewayError):
            self.world.lived_badly.append(f"a wish: {type(error).__name__}: {error}")
        return False
