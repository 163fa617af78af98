"""Progress without a terminal: one line for each event, and every few seconds one for the whole run."""

from collections import Counter
from collections.abc import Callable, Sequence

from reference.protocol.states import ClientState
from simulation.processes.progress import Row, RunView

STATUS_INTERVAL_S = 2.0
KINDS = ("on WebSocket", "polling", "without a connection", "not here yet", "ended")


class PlainWatcher:
    """Writes lines. `write` is called with each line, without its newline."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._status_due_s = 0.0

    def say(self, at_s: float, sentence: str) -> None:
        self._write(f"{at_s:5.1f} s  {sentence}")

    def show(self, view: RunView) -> None:
        if view.at_s < self._status_due_s:
            return
        self._status_due_s = view.at_s + STATUS_INTERVAL_S
        server = "" if view.server_is_up else "; the server is down"
        figures = f"published {view.published}, accepted {view.accepted}, delivered {view.delivered}"
        self._write(f"{view.at_s:5.1f} s  [{view.phase.value}] {counted(view.rows)}{server}; {figures}")


def counted(rows: Sequence[Row]) -> str:
    """How many clients use which transport: "12 on WebSocket, 3 polling"."""
    kinds = Counter(_kind_of(row) for row in rows)
    return ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])


def _kind_of(row: Row) -> str:
    if row.state is None:
        return "not here yet"
    if row.state is ClientState.CLOSED:
        return "ended"
    if row.state.has_websocket:
        return "on WebSocket"
    return "polling" if row.state.is_polling else "without a connection"
