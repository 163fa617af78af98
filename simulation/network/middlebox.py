"""Middleboxes on the path to the server: they end connections that are idle or old."""

from typing import Any, Protocol

from reference.protocol.timers import ns
from simulation.clock import FAULT, Call
from simulation.network.access_link import AccessLink
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.scenario.paths import Path


class WatchedConnection(Protocol):
    """A connection as a middlebox sees and affects it."""

    @property
    def access_link(self) -> AccessLink[Any]: ...

    @property
    def path(self) -> Path:
        """The path that it takes."""

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it can no longer be affected."""

    @property
    def pipes(self) -> tuple[SimulatedPipe, SimulatedPipe]:
        """To the server, and to the client."""

    def cut_at_box(self) -> None:
        """Reset both endpoints; during an outage the reset does not reach the client."""

    def silence(self) -> None:
        """Forget the connection: both endpoints keep a half-open connection."""


def watch(connection: WatchedConnection) -> None:
    """A connection begins: end it when it is idle or old, if the path has such a middlebox."""
    box, clock = connection.path.middlebox, connection.access_link.clock
    if box.connection_age_max_s is not None:
        Call(clock, clock.now + ns(box.connection_age_max_s), FAULT, _end_old, (connection, "connection_age"))
    if box.idle_timeout_s is not None:
        Call(clock, clock.now + ns(box.idle_timeout_s), FAULT, _end_idle, connection)


def watch_websocket(connection: WatchedConnection) -> None:
    """A connection becomes a WebSocket: end it when that is old."""
    age_max_s, clock = connection.path.middlebox.websocket_age_max_s, connection.access_link.clock
    if age_max_s is not None:
        Call(clock, clock.now + ns(age_max_s), FAULT, _end_old, (connection, "websocket_age"))


def _end_old(call: Call) -> None:
    connection, what = call.argument
    if not connection.is_out_of_reach:
        connection.access_link.note_trouble(what)
        connection.cut_at_box()


def _end_idle(call: Call) -> None:
    connection: WatchedConnection = call.argument
    link = connection.access_link
    box, clock = connection.path.middlebox, link.clock
    if connection.is_out_of_reach or box.idle_timeout_s is None:
        return
    kill_at = _passed_at(connection, box.place) + ns(box.idle_timeout_s)
    if box.idle_sweep_s:  # it notices at its next sweep
        sweep = ns(box.idle_sweep_s)
        phase = int(sweep * link.random_source.of(link.client).uniform("idle sweep", 0))
        kill_at = -(-(kill_at - phase) // sweep) * sweep + phase
    if kill_at > clock.now:
        Call(clock, kill_at, FAULT, _end_idle, connection)
    elif box.idle_effect == "reset":
        link.note_trouble("idle_reset")
        connection.cut_at_box()
    else:
        link.note_trouble("idle_silence")
        connection.silence()


def _passed_at(connection: WatchedConnection, place: float) -> int:
    """When something last passed a middlebox at that share of the latency from the client; it stays in the lists."""
    now, last = connection.access_link.clock.now, 0
    up, down = connection.pipes
    for pipe, share in ((up, place), (down, 1 - place)):
        sent, offset = pipe.half.sent, int(share * pipe.half.latency)
        assert sent is not None, "a middlebox counts"
        passed = [at for at in sent if at + offset <= now]
        if passed:
            last = max(last, passed[-1] + offset)
            del sent[: len(passed) - 1]
    return last
