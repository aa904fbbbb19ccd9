"""All drawing on the terminal: tables, facts, a live screen, a progress bar.

Rules of this file: the only one that imports rich. Quiet by choice: no boxes, few colours, nothing
that only a colour tells. A table that is too wide for the terminal drops its least needed columns
instead of breaking its lines, so that it is read on a phone over SSH as well.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text
from rich.theme import Theme

from gateway.cli.words import Cell

THEME = Theme(
    {
        "good": "green",
        "bad": "bold red",
        "warn": "yellow",
        "dim": "dim",
        "strong": "bold",
        "head": "dim",
    }
)
MIN_WIDTH = 40  # narrower than this nothing is legible; the terminal may break lines then
COLUMN_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """`drop` 0: always shown; the highest number goes first when there is no room."""

    title: str
    right: bool = False
    drop: int = 0
    fold: bool = False  # long text may take several lines; else it is cut


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: Cell | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels and what they say; a list of cells stands side by side."""

    pairs: Sequence[tuple[str, Cell | list[Cell]]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of several cells, or an empty one."""

    cells: Sequence[Cell] = field(default=())


Block = Table | Facts | Line


def show(*blocks: Block) -> None:
    """Print blocks."""
    console = _console()
    for block in blocks:
        console.print(_draw(block, console.width), soft_wrap=isinstance(block, Line))


def is_terminal() -> bool:
    """Whether a person looks at the output."""
    return _console().is_terminal


def watch(build: Callable[[int], Sequence[Block]], every_s: float) -> None:
    """A full screen that `build(height)` fills anew, until Ctrl-C."""
    from rich.live import Live  # noqa: PLC0415 - only a live screen needs it

    console = _console()

    def draw() -> RenderableType:
        return Group(*(_draw(block, console.width) for block in build(console.height)))

    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(draw(), console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            time.sleep(every_s)
            live.update(draw(), refresh=True)


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr; gives `update(done, total, text)`."""
    from rich.progress import (  # noqa: PLC0415 - only a scan needs it
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, theme=THEME, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, complete_style="good", finished_style="good"),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        expand=True,
    )
    with bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield update


def _console() -> Console:
    return Console(file=sys.stdout, theme=THEME, highlight=False)


def _draw(block: Block, width: int) -> RenderableType:
    match block:
        case Table():
            return _draw_table(block, width)
        case Facts():
            return _draw_facts(block)
        case Line():
            return _joined(block.cells)


def _joined(cells: Sequence[Cell]) -> Text:
    return Text.assemble(*(_text(cell) for cell in cells))


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else Text(cell[0], style=cell[1])


def _draw_facts(facts: Facts) -> RichTable:
    grid = RichTable.grid(padding=(0, COLUMN_GAP))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, told in facts.pairs:
        grid.add_row(label, _joined(told) if isinstance(told, list) else _text(told))
    return grid


def _draw_table(table: Table, width: int) -> RenderableType:
    columns = list(enumerate(table.columns))
    while _width(table, columns) > max(width, MIN_WIDTH):
        droppable = [pair for pair in columns if pair[1].drop]
        if not droppable:
            break
        columns.remove(max(droppable, key=lambda pair: pair[1].drop))
    drawn = RichTable(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="head")
    for _, column in columns:
        drawn.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.fold,
            overflow="fold" if column.fold else "ellipsis",
        )
    for row in table.rows:
        drawn.add_row(*(_text(row[index]) for index, _ in columns))
    if table.title is None:
        return drawn
    return Group(_text(table.title), drawn)


def _width(table: Table, columns: Sequence[tuple[int, Column]]) -> int:
    """How wide a table would like to be; text that may fold asks for a modest column only."""
    total = 0
    for index, column in columns:
        widest = max([len(column.title), *(_text(row[index]).cell_len for row in table.rows)])
        total += min(widest, _FOLDED) if column.fold else widest
    return total + COLUMN_GAP * (len(columns) - 1)


_FOLDED = 24
