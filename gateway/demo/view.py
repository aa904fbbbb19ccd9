"""The demo on a terminal: homes, line, link and what happens, refreshed a few times a second."""

import io
import re
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import MONOKAI
from rich.text import Text

from gateway.core.supply import Hold
from gateway.core.switching import Position
from gateway.core.units import format_kwh, format_rupees
from gateway.demo.news import Line, News, clock_text
from gateway.demo.proof import Proof
from gateway.demo.town import BUS, ZONE, Town
from gateway.services.live import LiveAccount
from gateway.store import outbox
from hardware.api import LinkState, Quantity

REFRESH_PER_S = 4
BAR_PAISE = 50_00  # a full bar
BAR_CELLS = 8
LOW_PAISE = 5_00
NEWS_LINES = 9
PICTURE_WIDTH = 100
WIDE = 96  # from here on there is room for the register and the load

_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_TONES = {"good": "green", "bad": "red", "story": "bold cyan", "calm": ""}


def terminal(*, quiet: bool) -> Console:
    """The terminal to draw on; `quiet` draws nothing at all."""
    return Console(quiet=quiet, highlight=False)


class View:
    """Draws the town."""

    def __init__(self, console: Console, town: Town, news: News) -> None:
        self._console = console
        self._town = town
        self._news = news

    def live(self) -> Live:
        """A live display; update it with `screen()`."""
        return Live(
            self.screen(), console=self._console, refresh_per_second=REFRESH_PER_S, screen=False
        )

    def screen(self) -> Group:
        """One frame."""
        return Group(self._header(), self._homes(), self._happenings())

    def save_picture(self, path: Path) -> None:
        """Keep this moment's screen as an SVG drawing."""
        paper = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
        picture = View(paper, self._town, self._news)
        paper.print(picture.screen())
        drawing = paper.export_svg(title="gateway demo", theme=MONOKAI)
        # A picture that fetches a font from somewhere is not shown everywhere.
        path.write_text(_FONT_FACE.sub("", drawing), encoding="utf-8")

    def print_line(self, line: Line) -> None:
        """One line of news, where there is no screen to draw on."""
        self._console.print(_news_text(line))

    def print_proof(self, proof: Proof) -> None:
        """The last word."""
        self._console.print()
        self._console.print(_proof_table(proof))
        if proof.holds:
            text = "PROVED: nothing lost, nothing doubled. For every home the sum of its entries,"
            text += " its balance, the bill of its register and the head-end's copy are one figure."
            self._console.print(Text(text, "bold green"))
        else:
            text = (
                f"NOT PROVED: the figures above differ; {proof.waiting_events} events wait, "
                f"{proof.unsettled_recharges} recharges are without a receipt."
            )
            self._console.print(Text(text, "bold red"))

    def _header(self) -> Text:
        app = self._town.app
        now = app.clock.now().utc.astimezone(ZONE)
        health = app.buses[BUS].health()
        _, last, _ = outbox.counts(app.db.reader)
        waiting = last - app.books.acknowledged
        link = app.sync.link_status()
        up = link is not None and link.connected
        busy = f"{health.busy_share:.0%}" if health.busy_share is not None else "-"
        text = Text()
        text.append(f"{now:%d %b %H:%M:%S}", "bold")
        text.append(f"  x{self._town.plan.speed:g}   line {health.settings}, {busy} busy   ")
        text.append("head-end linked" if up else "NO LINK", "green" if up else "bold red")
        text.append(f", {waiting} events waiting", "" if waiting < 20 else "yellow")  # noqa: PLR2004
        return text

    def _homes(self) -> Table:
        wide = self._console.width >= WIDE
        table = Table(box=None, pad_edge=False, expand=False, header_style="dim")
        table.add_column("home")
        if wide:
            table.add_column("meter")
            table.add_column("register kWh", justify="right")
        table.add_column("load W", justify="right")
        table.add_column("balance", justify="right")
        table.add_column("", width=BAR_CELLS)
        table.add_column("supply")
        links = self._town.app.buses[BUS].health().meters
        for live in self._town.app.books.live.accounts.values():
            link = links.get(live.row.meter)
            silent = link is not None and link.state is LinkState.SILENT
            cells = [Text(live.name, "bold")]
            if wide:
                model = next((spec for spec in self._models(live)), "")
                cells += [Text(model, "dim"), Text(format_kwh(live.register_wh))]
            cells += [_load(live, silent=silent), _balance(live), _bar(live), self._supply(live)]
            table.add_row(*cells)
        return table

    def _models(self, live: LiveAccount) -> list[str]:
        number = int(live.row.meter.removeprefix("M")) - 1
        models = self._town.plan.models
        return [models[number % len(models)]]

    def _supply(self, live: LiveAccount) -> Text:
        station = self._town.app.enforcement.stations.get(live.name)
        if station is not None and station.position is Position.OPEN:
            why = "no credit" if Hold.NO_CREDIT in live.holds else "off"
            return Text(f"○ dark: {why}", "bold red")
        text = Text("● on", "green")
        permission = live.permission
        if permission is not None and permission.next_at is not None:
            text.append(f"  used up; no cut before {permission.next_at:%a %H:%M}", "yellow")
        return text

    def _happenings(self) -> Panel:
        lines = list(self._news.lines)[-NEWS_LINES:]
        body = Group(*(_news_text(line) for line in lines))
        return Panel(body, title="what happens", title_align="left", border_style="dim")


def _news_text(line: Line) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{clock_text(line.utc)} ", "dim")
    text.append(line.text, _TONES[line.tone])
    return text


def _load(live: LiveAccount, *, silent: bool) -> Text:
    if silent:
        return Text("silent", "yellow")
    watts = live.reading.good(Quantity.ACTIVE_POWER) if live.reading else None
    return Text("-" if watts is None else str(watts))


def _balance(live: LiveAccount) -> Text:
    style = "red" if live.balance_paise <= 0 else "yellow" if live.balance_paise < LOW_PAISE else ""
    return Text(format_rupees(live.balance_paise), style)


def _bar(live: LiveAccount) -> Text:
    share = min(max(live.balance_paise / BAR_PAISE, 0.0), 1.0)
    full = round(share * BAR_CELLS)
    style = "yellow" if live.balance_paise < LOW_PAISE else "green"
    return Text("█" * full, style).append("░" * (BAR_CELLS - full), "dim")


def _proof_table(proof: Proof) -> Table:
    table = Table(title="Proof", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("home", "entries", "sum", "balance", "bill(register)", "head-end", ""):
        table.add_column(name, justify="left" if name in ("home", "") else "right")
    for one in proof.accounts:
        table.add_row(
            one.account,
            str(one.entries),
            format_rupees(one.sum_paise),
            format_rupees(one.balance_paise),
            format_rupees(one.billed_paise),
            format_rupees(one.copied_paise),
            Text("ok", "green") if one.holds else Text("DIFFERS", "bold red"),
        )
    return table
