"""The world of one scenario: a real gateway, and everything around it that can fail.

The gateway is `gateway.app.App` on a real database, a real `Rs485Bus` and real meter drivers over a
paced line in memory; the head-end is the real `Collector` on its own database. Here they are put
together, killed, started again, and moved between a busy pace (the product's own) and a quiet one.

Rules of this file: it makes things happen and judges nothing; `audit` judges.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from gateway.app import App, Parts
from gateway.core.errors import StoreError
from gateway.core.moment import Moment, Trust
from gateway.documents.config import BusConfig, Config
from gateway.documents.policy import policy_text
from gateway.headend import collector as collecting
from gateway.services import bookkeeping, enforcement, health
from gateway.services.lineman import Lineman
from gateway.services.timekeeping import Timekeeper
from gateway.store import registry
from gateway.store.database import Database
from hardware.api import Contact, LineSettings, MeterBus, MeterSpec, SwitchUnavailable
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.registry import model_library
from hardware.sim.image import RegisterImage
from hardware.sim.memory import MemoryLine
from hardware.sim.wire import Noise
from tests.simulation import card
from tests.simulation.broker import SimBroker
from tests.simulation.card import BUS
from tests.simulation.clock import Life, VirtualLoop
from tests.simulation.edges import (
    FaultySlaves,
    SimRunner,
    SimTimeSource,
    WatchedSwitch,
    opener,
    pull_out,
)
from tests.simulation.homes import House
from tests.simulation.office import KID, Office
from tests.simulation.paperbus import PaperBus
from tests.simulation.scenario import ZONE, Scenario
from tests.simulation.trace import Trace

GATEWAY = "GW-1"
STOP_S = 30.0  # systemd would wait 90 s and then kill
RESTART_S = (1.0, 90.0)  # systemd's pause, a boot, a power cut
# How seldom the loops look while nothing is going on; the first figures are the product's own.
LOOKS = (
    (bookkeeping, "TICK_S", 1.0),
    (enforcement, "CYCLE_S", 0.5),
    (health, "CHECK_S", 5.0),
    (collecting, "LOOK_S", 1.0),
)
LIBRARY = model_library()


class World:
    """Everything, from the wires to the head-end. Make it inside the running loop."""

    def __init__(self, scenario: Scenario, folder: Path, trace: Trace) -> None:
        self.scenario = scenario
        self.folder = folder
        self.trace = trace
        self.loop: VirtualLoop = asyncio.get_running_loop()  # type: ignore[assignment]
        self.started_s = self.loop.time()
        trace.origin_s = self.started_s
        seed = str(scenario.seed)
        self.chance = random.Random(f"{seed}/world")
        self.source = SimTimeSource(scenario.start_utc, lambda: self.elapsed_s)
        if not scenario.time_at_start:
            self.source.believed = Trust.NONE
        image = RegisterImage(LIBRARY.get(scenario.model))
        local = scenario.start_utc.astimezone(ZONE)
        self._start_ms = (local.hour * 60 + local.minute) * 60_000
        self.houses = [
            House(number, seed, image, self._street_ms, each.load_permille)
            for number, each in enumerate(scenario.consumers, start=1)
        ]
        self.by_meter = {house.meter_name: house for house in self.houses}
        self.by_account = {house.name: house for house in self.houses}
        self.slaves = FaultySlaves([h.meter for h in self.houses], seed, self.fault)
        settings = LineSettings(scenario.baud)
        self.line = MemoryLine(self.slaves, settings, noise=Noise(seed), chunk_s=1.0)
        self.broker = SimBroker(GATEWAY, seed, self.fault)
        self.broker.brought = lambda: self.moment_for_crash("recharge")
        self.office = Office(folder, seed, self.broker.link("headend"))
        self.copy, self.issuer = self.office.copy, self.office.issuer
        self.collector = self.office.collector
        self.switches: dict[str, WatchedSwitch] = {}
        self.config = self._config()
        self.life: Life | None = None
        self._graves: list[tuple[Life, App]] = []
        self.app: App | None = None
        self.lineman: Lineman | None = None
        self.lives = 0
        self.last_proven_day = ""
        self.disk_full = False
        self.busy_until_s = 0.0
        self.quiet = False
        self._busy = asyncio.Event()
        self.down = asyncio.Event()  # no gateway runs
        self.lived_badly: list[str] = []  # how a gateway ended by itself
        self.booted_at_s = 0.0
        self.runner: SimRunner | None = None
        # Set by the auditor.
        self.on_commit: Callable[[], None] = lambda: None
        self.on_move: Callable[[str, Contact], None] = lambda _a, _c: None
        self.on_boot: Callable[[], None] = lambda: None
        self.crash_at: tuple[str, int] | None = None  # (the next of what, steps after it)

    # --- time and pace ----------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the start."""
        return self.loop.time() - self.started_s

    def _street_ms(self) -> int:
        """Street time: ms since the midnight before the start."""
        return self._start_ms + int(self.elapsed_s * 1000)

    def fault(self, kind: str, text: str = "") -> None:
        """Count and tell an injected fault."""
        self.trace.now_s = self.loop.time()
        self.trace.fault(kind, text)

    def say(self, subject: str, text: str) -> None:
        """A line of the trace."""
        self.trace.now_s = self.loop.time()
        self.trace.say(subject, text)

    def be_busy(self, polls: int = 6, house: House | None = None) -> None:
        """Something happens, to one home or to all: near the product's own pace for some polls."""
        until_s = self.loop.time() + 5.0 + polls * self.scenario.busy_poll_s
        self.busy_until_s = max(self.busy_until_s, until_s)
        for each in self.houses if house is None else (house,):
            each.busy_until_s = max(each.busy_until_s, until_s)
        if self.quiet:
            self.set_pace(quiet=False)
        elif self.app is not None:
            self.app.buses[BUS]._wake.set()

    def set_pace(self, *, quiet: bool) -> None:
        """Busy: near the product's own constants. Quiet: all look as seldom as they poll."""
        self.quiet = quiet
        if not quiet:
            self._busy.set()
        poll_s = self.poll_s
        for module, name, busy_s in LOOKS:
            setattr(module, name, poll_s if quiet else busy_s * max(1.0, poll_s / 3))
        app = self.app
        if app is None:
            return
        rotation = app.buses[BUS]._rotation
        rotation._interval_s = poll_s
        if not quiet:  # whoever sleeps for long is woken
            now_s = self.loop.time()
            for number, slot in enumerate(rotation._slots.values()):
                if not slot.backoff.silent:
                    slot.due_at_s = min(slot.due_at_s, now_s + poll_s * number / len(self.houses))
            app.buses[BUS]._wake.set()
            app.books._wake.set()
            app.books.holds_changed.set()
            self.collector.issued.set()

    def interval_s(self, meter: str) -> float:
        """How often a meter is asked now, where each has a pace of its own."""
        busy = self.loop.time() < self.by_meter[meter].busy_until_s
        return self.scenario.busy_poll_s if busy else self.scenario.quiet_poll_s

    @property
    def poll_s(self) -> float:
        """How often each meter is asked now."""
        return self.scenario.quiet_poll_s if self.quiet else self.scenario.busy_poll_s

    async def keep_pace(self) -> None:
        """Fall back to the quiet pace when the busy time is over; until cancelled."""
        while True:
            if self.quiet:
                self._busy.clear()
                await self._busy.wait()
            rest_s = self.busy_until_s - self.loop.time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)
            else:
                self.set_pace(quiet=True)

    def answered_at_s(self, account: str) -> float:
        """Loop time at which a home's meter was last asked for its registers."""
        meter = self.by_account[account].meter
        return self.started_s + (meter.answered_ms - self._start_ms) / 1000

    def note_proven_day(self) -> None:
        """Remember the last local day that the gateway's clock has proven."""
        now = self.app.clock.now() if self.app is not None else None
        if now is not None and now.proven:
            self.last_proven_day = max(self.last_proven_day, now.day(ZONE).isoformat())

    def proven_lately(self, day: str) -> bool:
        """Whether the end of a local day was proven to the gateway at any time."""
        return day < self.last_proven_day

    # --- the gateway's lives ----------------------------------------------------------------------

    def found(self) -> None:
        """Meters and accounts are on the card, as if a lineman had been there."""
        moment = Moment(self.source.true_utc(), self.source.believed)
        card.found(self.config.data_dir, self.scenario, self.houses, moment)

    def boot(self) -> bool:
        """Start the gateway on what the disk holds; False when it does not start."""
        self.lives += 1
        life = Life(f"life {self.lives}")
        try:
            self.app = life.run(self._app)
        except StoreError as error:
            self.say("BOOT", f"fails: {type(error).__name__}")
            return False
        self.life = life
        self.down.clear()
        self.booted_at_s = self.loop.time()
        self.lineman = Lineman(self.app.books, self.app.enforcement)
        self.say("BOOT", f"life {self.lives}")
        self.on_boot()
        self.app.buses[BUS].subscribe(lambda _: self.moment_for_crash("reading"))
        task = life.start(self.app.run(), "gateway")
        task.add_done_callback(lambda done: self._ended(done, life))
        life.start(self._mend(self.lineman), "leftovers")
        self.be_busy(12)
        self.set_pace(quiet=False)
        return True

    async def _mend(self, lineman: Lineman) -> None:
        try:
            await lineman.lift_leftovers()
        except StoreError:
            return

    def kill(self, why: str) -> None:
        """`kill -9`, now."""
        if self.life is None or self.app is None:
            return
        self.say("KILL", why)
        self._bury(self.life, self.app)
        self.broker.hang_up("gateway")
        pull_out(self.line)
        card.abandon(self.app.db)
        self.life = self.app = self.lineman = None
        self.down.set()

    async def stop(self) -> None:
        """`systemctl stop`: the loops are cancelled and put in order."""
        life, app = self.life, self.app
        if life is None or app is None:
            return
        self.say("STOP", "in order")
        tasks = [task for task in life.tasks() if task.get_name() in ("gateway", "leftovers")]
        for task in sorted(tasks, key=lambda task: task.get_name()):
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            if late:
                self.lived_badly.append(f"it had not stopped after {STOP_S} s")
        if self.life is not life:
            return  # killed meanwhile
        self.life = self.app = self.lineman = None
        self.down.set()
        self._bury(life, app)
        self.broker.hang_up("gateway")
        pull_out(self.line)
        app.db.close()

    def _bury(self, life: Life, app: App) -> None:
        """End a life. What is left of it is kept: collected, it would begin to clean up."""
        life.end()
        self._graves.append((life, app))

    def _ended(self, done: "asyncio.Task[None]", life: Life) -> None:
        if life.ended or done.cancelled() or self.life is not life:
            return
        error = done.exception()
        self.lived_badly.append(_words(error) if error else "it returned")
        self.say("ENDED", self.lived_badly[-1])
        self.kill("it ended by itself")

    def moment_for_crash(self, what: str) -> None:
        """Something that a crash may be armed for has just happened."""
        if self.crash_at is not None and self.crash_at[0] == what:
            steps, self.crash_at = self.crash_at[1], None
            self.loop.after_steps(steps, lambda: self.kill(f"{steps} steps after a {what}"))

    def save_image(self) -> None:
        """Keep a copy of the card as it is now."""
        card.save_image(self.config.data_dir, self.folder / "image.db")

    def put_image_back(self) -> None:
        """Between two lives: the card holds what it held then."""
        self.broker.forget_what_is_late()
        card.put_image_back(self.config.data_dir, self.folder / "image.db")

    def fill_disk(self, *, full: bool) -> None:
        """No page more for the database, or as many as it likes."""
        self.disk_full = full
        if self.app is not None:
            writer = self.app.db._writer
            pages = writer.execute("PRAGMA page_count").fetchone()[0] if full else 1_000_000_000
            writer.execute(f"PRAGMA max_page_count={pages}")

    # --- the parts --------------------------------------------------------------------------------

    def _app(self) -> App:
        chance = random.Random(f"{self.scenario.seed}/disk/{self.lives}")
        runner = SimRunner(chance, self._die_in_commit, self._committed)
        db = Database(self.config.data_dir, runner)
        self.runner = runner
        if self.disk_full:
            pages = db._writer.execute("PRAGMA page_count").fetchone()[0]
            db._writer.execute(f"PRAGMA max_page_count={pages}")
        parts = Parts(
            clock=Timekeeper(self.source, self.loop.time, registry.time_floor(db.reader)),
            database=db,
            buses={BUS: self._bus()},
            open_switch=self._open_switch,
            link=self.broker.link("gateway"),
            notify=lambda _: None,
        )
        return App(self.config, parts)

    def _bus(self) -> MeterBus:
        if not self.scenario.wired:
            return PaperBus(
                BUS,
                {house.meter_name: house.meter for house in self.houses},
                self.line,
                lambda: self.slaves.faults,
                random.Random(f"{self.scenario.seed}/paper/{self.lives}"),
                self.fault,
                self.interval_s,
            )

        def driver(spec: MeterSpec) -> ModbusMeter:
            return ModbusMeter(spec, LIBRARY.get(spec.model))

        return Rs485Bus(
            BUS,
            "/dev/sim",
            self.line.settings,
            opener=opener(self.line),
            driver_for=driver,
            poll_interval_s=self.scenario.busy_poll_s,
        )

    def _committed(self) -> None:
        self.on_commit()
        self.moment_for_crash("commit")

    def _die_in_commit(self) -> None:
        before = self.runner is not None and self.runner.die_before
        self.kill(f"{'before' if before else 'after'} a commit")

    def _open_switch(self, spec: str, assumed: Contact) -> WatchedSwitch:
        house = self.houses[int(spec.removeprefix("sim:")) - 1]
        if house.name in self.switches and self.switches[house.name].broken:
            raise SwitchUnavailable(f"{spec} is gone (simulated)")
        consumer = self.scenario.consumers[house.number - 1]
        switch = WatchedSwitch(
            house.name,
            house.contact,
            self._moves,
            with_feedback=consumer.feedback,
            delay_s=consumer.relay_delay_s,
        )
        self.switches[house.name] = switch
        return switch

    def _moves(self, account: str, to: Contact) -> None:
        self.say(account, f"relay {to.value}")
        self.on_move(account, to)
        self.be_busy(6, self.by_account[account])
        self.moment_for_crash("move")

    def _config(self) -> Config:
        policy = self.folder / "policy.toml"
        policy.write_text(policy_text(self.scenario.policy))
        return Config(
            path=self.folder / "gateway.toml",
            gateway_id=GATEWAY,
            data_dir=self.folder / "data",
            zone=ZONE,
            socket=self.folder / "gateway.sock",
            policy=policy,
            recharge_keys={KID: self.office.public_key},
            buses={BUS: BusConfig("/dev/sim", self.line.settings, self.scenario.busy_poll_s, None)},
        )


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
