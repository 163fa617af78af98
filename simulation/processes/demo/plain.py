"""Progress without a terminal: one line for each event, and every few seconds one for the state."""

from collections import Counter
from collections.abc import Callable

from reference.protocol.states import ClientState
from simulation.processes.progress import Row, Scene

STATUS_INTERVAL_S = 2.0


class PlainWatcher:
    """Writes lines. `write` is called with each line, without its newline."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._status_due_s = 0.0

    def say(self, at_s: float, sentence: str) -> None:
        self._write(f"{at_s:5.1f} s  {sentence}")

    def show(self, scene: Scene) -> None:
        if scene.at_s < self._status_due_s:
            return
        self._status_due_s = scene.at_s + STATUS_INTERVAL_S
        self._write(f"{scene.at_s:5.1f} s  {status(scene)}")


def status(scene: Scene) -> str:
    """The state in one line."""
    kinds = Counter(kind_of(row) for row in scene.rows)
    clients = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
    server = "" if scene.server_is_up else "; the server is down"
    figures = f"published {scene.published}, accepted {scene.accepted}, delivered {scene.delivered}"
    return f"[{scene.act.value}] {clients}{server}; {figures}"


KINDS = ("on WebSocket", "polling", "without a connection", "not here yet", "ended")


def kind_of(row: Row) -> str:
    """The transport of a client, as text."""
    if row.state is None:
        return "not here yet"
    if row.state is ClientState.CLOSED:
        return "ended"
    if row.state.has_websocket:
        return "on WebSocket"
    return "polling" if row.state.is_polling else "without a connection"
