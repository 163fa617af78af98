"""Watching on a terminal: a table that changes in place, one row for each client, and the last things that happened below it.

    header   how far it is, the server, the figures
    rows     client, its path, what carries it, position, queue, round trip, reconnections, and what is being done to it
    faults   what concerns everyone
    news     the last few sentences

When the terminal is too low for all rows, those that fit are shown, and one line counts the rest.
"""

from collections import Counter, deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reference.demo.plain import KINDS, kind_of
from reference.demo.watching import Act, Row, Scene
from reference.protocol.states import ClientState
from simulation.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall

NEWS_SHOWN = 6
LINES_BESIDE_ROWS = NEWS_SHOWN + 7
FRAMES_PER_S = 10

_STATE_WORDS = {
    ClientState.NEW: ("new", "dim"),
    ClientState.CONNECTING: ("connecting", "yellow"),
    ClientState.GREETING: ("connecting", "yellow"),
    ClientState.PROVING: ("on trial", "green"),
    ClientState.LIVE: ("live", "bold green"),
    ClientState.WAITING: ("waiting", "red"),
    ClientState.POLLING: ("polling", "magenta"),
    ClientState.PROBE_CONNECTING: ("polling, probing", "magenta"),
    ClientState.PROBE_GREETING: ("polling, probing", "magenta"),
    ClientState.PROBE_PROVING: ("returning", "green"),
    ClientState.REFRESHING: ("token", "yellow"),
    ClientState.CLOSED: ("ended", "dim"),
}
_FAULT_WORDS = {
    Outage: "line down",
    Stall: "stalled",
    Reset: "reset",
    HalfOpen: "half-open",
    Refuse: "refused",
    BlockUpgrade: "no WebSocket",
    ServerRestart: "server down",
}


class LiveWatcher:
    """A context manager: the table is there for the length of the block, and the last one stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news: deque[tuple[float, str]] = deque(maxlen=NEWS_SHOWN)
        self._live = Live(console=console, refresh_per_second=FRAMES_PER_S, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def say(self, at_s: float, sentence: str) -> None:
        self._news.append((at_s, sentence))
        if len(self._news) == 1:
            self._live.update(self._said(), refresh=True)

    def show(self, scene: Scene) -> None:
        rows_max = max(3, self._console.size.height - LINES_BESIDE_ROWS)
        self._live.update(Group(_header(scene), Text(), _table(scene, rows_max), Text(), self._said()), refresh=True)

    def _said(self) -> Text:
        lines = [
            Text.assemble((f"{at_s:6.1f} s  ", "dim"), sentence, no_wrap=True, overflow="ellipsis")
            for at_s, sentence in self._news
        ]
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def _header(scene: Scene) -> Table:
    done = min(1.0, scene.at_s / scene.seconds)
    server = ("up", "bold green") if scene.server_is_up else ("KILLED", "bold red")
    everyone = sorted({_FAULT_WORDS[type(fault)] for fault in scene.faults if not fault.clients and scene.act is Act.WORK})
    grid = Table.grid(padding=(0, 3))
    grid.add_row(
        Text.assemble(("steadywire demo", "bold"), f"  {scene.act.value}"),
        ProgressBar(total=1.0, completed=done, width=24),
        Text(f"{min(scene.at_s, scene.seconds):.0f} of {scene.seconds:g} s"),
        Text.assemble("server ", server),
        Text(", ".join(everyone), style="red"),
    )
    kinds = Counter(kind_of(row) for row in scene.rows)
    clients = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
    lines = Table.grid()
    lines.add_row(grid)
    lines.add_row(
        Text(f"published {scene.published}   accepted {scene.accepted}   delivered {scene.delivered}   {clients}", style="dim")
    )
    return lines


def _table(scene: Scene, rows_max: int) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("client")
    table.add_column("path", justify="right")
    table.add_column("state", min_width=16)
    table.add_column("transport", min_width=9)
    for name in ("position", "queued", "round trip", "reconnections"):
        table.add_column(name, justify="right")
    table.add_column("its network now", min_width=24)
    shown = scene.rows if len(scene.rows) <= rows_max else scene.rows[: rows_max - 1]
    for row in shown:
        table.add_row(*_cells(row, scene))
    rest = Counter(kind_of(row) for row in scene.rows[len(shown) :])
    if not rest:
        return Group(table)
    counted = ", ".join(f"{rest[kind]} {kind}" for kind in KINDS if rest[kind])
    return Group(table, Text(f"and {len(scene.rows) - len(shown)} more: {counted}", style="dim"))


def _cells(row: Row, scene: Scene) -> tuple[Text, ...]:
    if row.state is None:
        return Text(row.name, style="dim"), Text(_path(row), style="dim"), Text("comes later", style="dim")
    word, style = _STATE_WORDS[row.state]
    behind = scene.head - row.position
    return (
        Text(row.name),
        Text(_path(row), style="dim"),
        Text(word, style=style),
        Text(row.transport or "-", style="" if row.transport else "dim"),
        Text(str(row.position), style="yellow" if behind > 25 else ""),
        Text(str(row.queued), style="yellow" if row.queued > 5 else ""),
        Text("-" if row.round_trip_ms is None else f"{row.round_trip_ms:.0f} ms"),
        Text(str(row.reconnections)),
        Text(_troubles(row.name, scene.faults), style="red"),
    )


def _path(row: Row) -> str:
    return f"{row.path.latency_s * 1000:.0f} ms"


def _troubles(name: str, faults: tuple[Fault, ...]) -> str:
    return ", ".join(sorted({_FAULT_WORDS[type(fault)] for fault in faults if name in fault.clients}))
