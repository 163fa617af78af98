"""Progress on a terminal: a table that updates in place, one row for each client, with the last events below it.

    header   progress, the server, the figures
    rows     client, its path, transport, position, queue, round trip, reconnections, and its active faults
    faults   faults that affect everyone
    news     the last few sentences

If the terminal is too small for all rows, those that fit are shown, and one line counts the rest.
"""

from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reference.protocol.states import ClientState
from simulation.processes.demo.plain import counted
from simulation.processes.progress import Row, RunView
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall

NEWS_SHOWN = 6
LINES_BESIDE = 7
"""Lines of the screen in addition to rows and news: header, headings, empty lines, and the line of the cursor."""
ROOMY_LINES, ROOMY_COLUMNS = 30, 100
"""On a smaller screen there are fewer news, and narrower columns."""
MUCH_BEHIND_EVENTS, MUCH_QUEUED_EVENTS = 25, 5
"""Larger values are coloured."""

_STATE_WORDS = {
    ClientState.NEW: ("new", "dim"),
    ClientState.CONNECTING: ("connecting", "yellow"),
    ClientState.GREETING: ("connecting", "yellow"),
    ClientState.PROVING: ("on trial", "green"),
    ClientState.LIVE: ("live", "bold green"),
    ClientState.WAITING: ("waiting", "red"),
    ClientState.POLLING: ("polling", "magenta"),
    ClientState.PROBE_CONNECTING: ("probing", "magenta"),
    ClientState.PROBE_GREETING: ("probing", "magenta"),
    ClientState.PROBE_PROVING: ("returning", "green"),
    ClientState.REFRESHING: ("token", "yellow"),
    ClientState.CLOSED: ("ended", "dim"),
}
_FAULT_WORDS = {
    Outage: "link down",
    Stall: "stalled",
    Reset: "reset",
    HalfOpen: "half-open",
    Refuse: "refused",
    BlockUpgrade: "no WebSocket",
}


class LiveWatcher:
    """A context manager: the table is shown during the block, and its last state stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news: deque[tuple[float, str]] = deque(maxlen=NEWS_SHOWN)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def say(self, at_s: float, sentence: str) -> None:
        self._news.append((at_s, sentence))
        if len(self._news) == 1:  # there is no table yet
            self._live.update(_news_lines(self._news), refresh=True)

    def show(self, view: RunView) -> None:
        width, height = self._console.size
        self._live.update(picture(view, self._news, width=width, height=height), refresh=True)


def picture(view: RunView, news: Iterable[tuple[float, str]], *, width: int, height: int) -> Group:
    """The run and the last of the news, for a screen of `width` columns and `height` lines."""
    news_max = NEWS_SHOWN if height >= ROOMY_LINES else NEWS_SHOWN // 2
    rows_max = max(3, height - news_max - LINES_BESIDE)
    return Group(_header(view, width), Text(), _table(view, rows_max, width), Text(), _news_lines(list(news)[-news_max:]))


def _news_lines(news: Iterable[tuple[float, str]]) -> Text:
    lines = (Text.assemble((f"{at_s:6.1f} s  ", "dim"), sentence) for at_s, sentence in news)
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def _header(view: RunView, width: int) -> Group:
    progress = Table.grid(padding=(0, 2))
    progress.add_row(
        Text.assemble(("steadywire demo", "bold"), f"  {view.phase.value}"),
        ProgressBar(total=view.seconds, completed=min(view.at_s, view.seconds), width=max(6, min(24, width - 66))),
        Text(f"{min(view.at_s, view.seconds):.0f} of {view.seconds:g} s"),
        Text("server up", style="green") if view.server_is_up else Text("SERVER KILLED", style="bold red"),
        _words(fault for fault in view.faults if not fault.clients),
    )
    figures = f"published {view.published}  accepted {view.accepted}  delivered {view.delivered}  {counted(view.rows)}"
    return Group(progress, Text(figures, style="dim", no_wrap=True, overflow="ellipsis"))


def _table(view: RunView, rows_max: int, width: int) -> Group:
    is_wide = width >= ROOMY_COLUMNS
    table = Table(box=None, pad_edge=False, padding=(0, 2 if is_wide else 1, 0, 0), header_style="dim")
    table.add_column("client", min_width=8, no_wrap=True)
    if is_wide:
        table.add_column("path", justify="right", no_wrap=True)
    table.add_column("state", min_width=10, no_wrap=True)
    table.add_column("transport", min_width=9, no_wrap=True)
    for name in ("position", "queued", "round trip" if is_wide else "rtt", "reconnects"):
        table.add_column(name, justify="right", min_width=max(6, len(name)), no_wrap=True)
    table.add_column("network now", min_width=12, no_wrap=True)
    shown = view.rows if len(view.rows) <= rows_max else view.rows[: rows_max - 1]
    for row in shown:
        client, path, *cells = _cells(row, view)
        table.add_row(client, *([path] if is_wide else []), *cells)
    rest = view.rows[len(shown) :]
    return Group(table, Text(f"and {len(rest)} more: {counted(rest)}", style="dim")) if rest else Group(table)


def _cells(row: Row, view: RunView) -> tuple[Text, ...]:
    path = Text(f"{row.path.latency_s * 1000:.0f} ms", style="dim")
    network_now = _words(fault for fault in view.faults if row.name in fault.clients)
    if row.state is None:
        return Text(row.name, style="dim"), path, Text("later", style="dim"), *(Text() for _ in range(5)), network_now
    word, style = _STATE_WORDS[row.state]
    return (
        Text(row.name),
        path,
        Text(word, style=style),
        Text(row.transport or "-", style="" if row.transport else "dim"),
        Text(str(row.position), style="yellow" if view.head - row.position > MUCH_BEHIND_EVENTS else ""),
        Text(str(row.queued), style="yellow" if row.queued > MUCH_QUEUED_EVENTS else ""),
        Text("-" if row.round_trip_ms is None else f"{row.round_trip_ms:.0f} ms"),
        Text(str(row.reconnections)),
        network_now,
    )


def _words(faults: Iterable[Fault]) -> Text:
    """These faults as text. A server that is down is shown elsewhere."""
    words = sorted({_FAULT_WORDS[type(fault)] for fault in faults if not isinstance(fault, ServerRestart)})
    return Text(", ".join(words), style="red", no_wrap=True, overflow="ellipsis")
