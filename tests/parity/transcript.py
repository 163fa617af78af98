"""A transcript: what one world tells of a scenario, in a form in which two worlds can be laid side by side.

Every world records through `simulation.trace.writer`, so most of a transcript is a trace. Added to it is every frame that goes in
or out of a client's session, because two worlds that show their applications the same may still have said different things on
the way. Records stand in the order in which they were made, frames between them.

`lines_of` gives the transcript as lines, one list for each place (a client, the server, the store, the world). A line is what is
compared, exactly. What is left out of it, and why, is here and nowhere else:

    trace_started                it names the world
    queue_sampled, queue_peaked  a look that the simulator takes from outside
    answer_given                 the simulated server's own record; on the real one the same answers are seen as frames
    a driver's words             "the connection was reset" and "Connection lost": each driver has its own, and no machine listens
                                 to them. Words with a code come from the protocol, and are compared
    a server's connection ids    counted anew by each process; they are renamed in the order of their appearance
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

from reference.protocol import frames
from reference.protocol.timers import NS_PER_S
from simulation.trace.trace import (
    AnswerGiven,
    AskedRecord,
    ClientStarted,
    ConnectionLost,
    DriverRecord,
    OutcomeRecord,
    QueuePeaked,
    QueueSampled,
    Record,
    ServerKilled,
    ServerRecord,
    SessionJoined,
    SessionLeft,
    StoreRecord,
    Trace,
    TraceStarted,
)

Direction = Literal["sent", "received"]
_LEFT_OUT = (TraceStarted, QueueSampled, QueuePeaked, AnswerGiven)


class FrameSeen(NamedTuple):
    """A frame that a client's session sent or received, at `at` ns."""

    at: int
    client: str
    direction: Direction
    connection_id: int
    frame: frames.Frame


class Line(NamedTuple):
    """One line of a transcript. Two are the same if all but `at` is equal, and `at` nearly."""

    at: int
    what: str
    content: str

    def __str__(self) -> str:
        return f"{self.at / NS_PER_S:14.9f}  {self.what} {self.content}"


@dataclass
class Transcript:
    """Records and frames in the order in which they came."""

    world: str
    entries: list[Record | FrameSeen] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """The trace in it."""
        return [entry for entry in self.entries if not isinstance(entry, FrameSeen)]

    @cached_property
    def lines(self) -> "dict[str, list[Line]]":
        """The lines of each place, in order; computed once, at the end."""
        return lines_of(self.entries)

    @property
    def frames_seen(self) -> list[FrameSeen]:
        return [entry for entry in self.entries if isinstance(entry, FrameSeen)]


class Tape(Trace):
    """A trace that takes frames between its records, and can be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list = []
        self.is_over = False
        self.add = self._add

    def _add(self, entry) -> None:
        if not self.is_over:
            self.entries.append(entry)


def lines_of(entries: Iterable[Record | FrameSeen]) -> dict[str, list[Line]]:
    """The lines of each place, in order."""
    places: dict[str, list[Line]] = {}
    names = _ServerNames()
    for entry in entries:
        if isinstance(entry, _LEFT_OUT):
            continue
        if isinstance(entry, ServerKilled):
            names.forget()
        place = _place_of(entry)
        places.setdefault(place, []).append(_line_of(entry, names))
    places["the server"] = sorted(places.get("the server", []))
    return places


class _ServerNames:
    """A server's names for its connections, in the order of their appearance."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._lives = 1

    def forget(self) -> None:
        """Another process counts anew."""
        self._names.clear()
        self._lives += 1

    def of(self, connection_id: int) -> str:
        return self._names.setdefault(connection_id, f"{self._lives}.{len(self._names) + 1}")


def _place_of(entry: Record | FrameSeen) -> str:
    if isinstance(entry, FrameSeen):
        return f"{entry.client} {'says' if entry.direction == 'sent' else 'hears'}"
    if isinstance(entry, ClientStarted | AskedRecord):
        return f"{entry.client} says"
    if isinstance(entry, OutcomeRecord):
        return f"{entry.client} hears"
    if isinstance(entry, DriverRecord):
        return f"{entry.client}'s connections"
    if isinstance(entry, StoreRecord):
        return "the store"
    return "the server" if isinstance(entry, ServerRecord) else "the world"


def _line_of(entry: Record | FrameSeen, names: _ServerNames) -> Line:
    if isinstance(entry, FrameSeen):
        said = _without_drivers_words(msgspec.to_builtins(entry.frame))
        return Line(entry.at, f"{entry.direction} {said.pop('type')}", f"on {entry.connection_id}: {_text(said)}")
    reported: dict[str, Any] = msgspec.to_builtins(entry)
    reported.pop("client", None)
    if isinstance(entry, ConnectionLost):
        reported = _without_drivers_words(reported)
    if isinstance(entry, SessionJoined | SessionLeft):
        reported["connection_id"] = names.of(entry.connection_id)
    return Line(reported.pop("at"), reported.pop("record"), _text(reported))


def _without_drivers_words(reported: dict[str, Any]) -> dict[str, Any]:
    """A loss without a code has a text of its driver."""
    if reported.get("type", "requestFailed") == "requestFailed" and reported.get("code") is None:
        reported.pop("message", None)
    return reported


def _text(reported: dict[str, Any]) -> str:
    return msgspec.json.encode(reported, order="deterministic").decode()
