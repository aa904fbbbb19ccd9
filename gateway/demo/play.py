"""Puts the demonstration together: town, broker, head-end, story, view, proof."""

import asyncio
import contextlib
import logging
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from gateway.core.tariff import FixedCharge, Per, Slab, Tariff, TariffVersion
from gateway.demo import proof
from gateway.demo.news import News
from gateway.demo.story import HOUSEHOLDS, HeadEnd, Story
from gateway.demo.town import ZONE, Town, TownPlan
from gateway.demo.view import REFRESH_PER_S, View, terminal
from gateway.documents.config import mqtt_config
from gateway.headend.broker import HOST, EmbeddedBroker
from gateway.headend.collector import Collector, collector_options
from gateway.headend.copy import HeadendCopy
from gateway.headend.issuer import Issuer, create_key
from gateway.link.mqtt import MqttLink

# Clients of the embedded broker need a name for it to keep their session; see `headend.broker`.
GATEWAY_USER, HEADEND_USER = "gateway", "head-end"
# A quarter to one on a working day: the cut window closes while one watches.
START = datetime(2026, 11, 24, 12, 50, tzinfo=ZONE)
POLICY = """
name = "demo: no cut outside 10:00 to 14:00"
[cut_window]
start = 10:00:00
end = 14:00:00
"""
PICTURE_AT = 0.5  # of the story: the link is down, somebody sits in the dark
# Round figures, steep enough that homes run out within minutes; no utility's.
TARIFF = Tariff(
    "Demo street",
    (
        TariffVersion(
            date(2020, 1, 1),
            (
                Slab(Decimal("4.00"), 50),
                Slab(Decimal("6.00"), 150),
                Slab(Decimal("9.00")),
            ),
            fixed=FixedCharge(Decimal("1.00"), Per.DAY),
            duty_percent_of_energy=Decimal(10),
            cess_rupees_per_kwh=Decimal("0.10"),
        ),
    ),
    source="invented for the demonstration",
)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asks for."""

    speed: float = 60.0
    seconds: float = 100.0
    homes: int = len(HOUSEHOLDS)
    plain: bool = False  # lines instead of a screen
    quiet: bool = False  # show nothing
    picture: Path | None = None  # where to keep a drawing of the screen, when most has happened
    folder: Path | None = (
        None  # where the database and the rest are kept; else they are thrown away
    )


def run(options: DemoOptions) -> proof.Proof:
    """Play the demonstration to its end."""
    logging.disable(logging.WARNING)  # the story tells of the faults it makes
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_play(options, options.folder.resolve()))
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        return asyncio.run(_play(options, Path(folder)))


async def _play(options: DemoOptions, folder: Path) -> proof.Proof:
    loop = asyncio.get_running_loop()
    console = terminal(quiet=options.quiet)
    console.print("Plugging in the street, opening the accounts ...", style="dim")
    async with _world(options, folder) as (town, head_end, copy):
        news = News(town.app)
        news.read()
        view = View(console, town, news)
        story = Story(town, head_end, news, options.seconds)
        playing = asyncio.ensure_future(story.play())
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, playing.cancel)
        if options.picture is not None:
            loop.call_later(PICTURE_AT * options.seconds, view.save_picture, options.picture)
        await _show(view, news, playing, plain=options.plain or not console.is_terminal)
        await story.mend()
        await proof.settle(town, copy)
        news.read()
        found = proof.prove(town, copy)
        view.print_proof(found)
        return found


async def _show(view: View, news: News, playing: "asyncio.Future[None]", *, plain: bool) -> None:
    """Draw, or print line by line, until the story ends or is cut short."""
    shown = len(news.lines)
    live = contextlib.nullcontext() if plain else view.live()
    with live as screen:
        while not playing.done():
            await asyncio.wait([playing], timeout=1 / REFRESH_PER_S)
            news.read()
            if screen is not None:
                screen.update(view.screen())
                continue
            for line in list(news.lines)[shown:]:
                view.print_line(line)
            shown = len(news.lines)
    if not playing.cancelled():
        playing.result()


@asynccontextmanager
async def _world(
    options: DemoOptions, folder: Path
) -> AsyncIterator[tuple[Town, HeadEnd, HeadendCopy]]:
    """Everything running; taken down in the right order at the end, whatever happened."""
    policy = folder / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    key = create_key(folder / "headend.key", "demo-office")
    copy = HeadendCopy(folder / "headend.db")
    async with EmbeddedBroker() as broker:
        link = MqttLink(
            collector_options(
                "head-end", mqtt_config(HOST, port=broker.port, username=HEADEND_USER)
            ),
            lambda: 0.0,
        )
        collector = Collector(copy, link)
        collecting = asyncio.create_task(collector.run(), name="head-end")
        config = (
            f"policy = '{policy}'\n"
            f"[mqtt]\nhost = '{HOST}'\nport = {broker.port}\nusername = '{GATEWAY_USER}'\n"
            f"[keys.recharge]\n{key.config_line}\n"
        )
        households = [HOUSEHOLDS[n % len(HOUSEHOLDS)] for n in range(options.homes)]
        plan = TownPlan(folder, households, TARIFF, START, options.speed, config=config)
        town = Town(plan)
        try:
            await town.start()
            yield town, HeadEnd(broker, collector, Issuer(copy, key)), copy
        finally:
            await town.stop()
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
            copy.close()
