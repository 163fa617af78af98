"""The player: a trace animated in a notebook, with clients as rows, faults, queues, and events on their way.

    player = Player(result)          # of `simulation.world.run`, or any Trace, or the path of a trace file
    player                           # in a notebook: play, speed, a slider
    player.time_s = 12.5             # also from Python; it follows the slider

`picture_of` makes a picture, of plain values; `player.js` draws it. A picture is bounded: of a large run the first clients and
the first events are shown, and it says what is left out. Times are in s since the run began.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import anywidget
import msgspec
import traitlets

from reference.protocol.errors import ConfigError
from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_S
from simulation.scenario.faults import Fault, ServerRestart
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    ClientStarted,
    Delivered,
    Failed,
    FaultHappened,
    Published,
    ServerKilled,
    ServerStarted,
    ServerStopped,
    SessionOver,
    StateTurned,
    Trace,
    TraceStarted,
)

CLIENTS_MAX = 60
MESSAGES_MAX = 4000
DELIVERIES_MAX = 60_000
SPEEDS = (0.1, 0.5, 1.0, 2.0, 5.0, 20.0)
SCRIPT = Path(__file__).with_name("player.js")

Stretch = tuple[float, float, str]


class HasTrace(Protocol):
    """For example the result of a simulated run."""

    @property
    def trace(self) -> Trace: ...


class PlayerClient(msgspec.Struct, frozen=True):
    """One client, a row of the player. `states`: since when it is "live" (on a WebSocket), "polling", "down" or "over". `queue`:
    since when how many publishes wait for an answer."""

    name: str
    states: list[tuple[float, str]]
    queue: list[tuple[float, int]]
    faults: list[Stretch]


class PlayerMessage(msgspec.Struct, frozen=True, array_like=True):
    """One publish. `sender`: the number of its client. `accepted_s`: when the server settled it. `delivered`: the number of each
    client that got it, and when, in order of time. `failed_s`: when it was given up."""

    published_s: float
    sender: int
    event_type: str
    accepted_s: float | None
    delivered: list[tuple[int, float]]
    failed_s: float | None


class Picture(msgspec.Struct, frozen=True):
    """What the player draws. `down`: when no server ran; `everybody`: faults that hit all clients; `note`: what is left out."""

    duration: float
    clients: list[PlayerClient]
    down: list[Stretch]
    everybody: list[Stretch]
    messages: list[PlayerMessage]
    note: str


class Player(anywidget.AnyWidget):
    """Plays a run. Its time, speed and state can be read and set from Python."""

    _esm = SCRIPT
    picture = traitlets.Dict().tag(sync=True)
    time_s = traitlets.Float(0.0).tag(sync=True)
    speed = traitlets.Float(1.0).tag(sync=True)
    is_playing = traitlets.Bool(False).tag(sync=True)

    def __init__(self, source: HasTrace | Trace | Path | str) -> None:
        """Raises ConfigError for a trace that keeps no messages or is no trace, and OSError for a file that cannot be read."""
        if isinstance(source, str | Path):
            trace = Trace.read(Path(source))
        else:
            trace = source if isinstance(source, Trace) else source.trace
        super().__init__(picture=msgspec.to_builtins(picture_of(trace)))

    @traitlets.validate("time_s")
    def _within_the_run(self, proposal: Any) -> float:
        return float(min(max(proposal["value"], 0.0), self.picture["duration"]))

    @traitlets.validate("speed")
    def _one_of_the_speeds(self, proposal: Any) -> float:
        speed = float(proposal["value"])
        if speed not in SPEEDS:
            raise traitlets.TraitError(f"speed = {speed:g}: choose one of {', '.join(f'{one:g}' for one in SPEEDS)}")
        return speed


def picture_of(trace: Trace) -> Picture:
    """The values to draw. Raises ConfigError if the trace keeps no messages."""
    records = list(trace)
    if not records or not isinstance(records[0], TraceStarted):
        raise ConfigError("this is no trace: it does not begin with trace_started")
    if records[0].keeps != "full":
        raise ConfigError("this trace keeps sums and no messages, so there is nothing to play; simulate with fewer clients")
    names = sorted({record.client for record in records if isinstance(record, ClientStarted)}, key=_by_number)
    shown = {name: index for index, name in enumerate(names[:CLIENTS_MAX])}
    duration = max(record.at for record in records) / NS_PER_S
    messages, left_out = _messages(records, shown)
    happened = [record.fault for record in records if isinstance(record, FaultHappened)]
    own: dict[str, list[Stretch]] = defaultdict(list)
    for fault in happened:
        for client in fault.clients:
            own[client].append(_stretch(fault, duration))
    notes = []
    if len(names) > len(shown):
        notes.append(f"{len(shown)} of {len(names)} clients are shown")
    if left_out:
        notes.append(f"{len(messages)} of {len(messages) + left_out} events are drawn")
    return Picture(
        duration=duration,
        clients=[PlayerClient(name, course.states, course.queue, own[name]) for name, course in _courses(records, shown).items()],
        down=_down(records, duration),
        everybody=[_stretch(fault, duration) for fault in happened if not fault.clients and not isinstance(fault, ServerRestart)],
        messages=messages,
        note="; ".join(notes),
    )


def _by_number(name: str) -> list[tuple[int, str]]:
    """An order of names in which rider-2 comes before rider-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _stretch(fault: Fault, duration: float) -> Stretch:
    return fault.at_s, min(fault.end_s, duration), str(type(fault).__struct_config__.tag).replace("_", " ")


def _word(state: ClientState) -> str:
    if state is ClientState.CLOSED:
        return "over"
    if state.has_websocket:
        return "live"
    return "polling" if state.is_polling else "down"


class _Course:
    """The history of one client, collected record by record."""

    def __init__(self) -> None:
        self.states: list[tuple[float, str]] = []
        self.queue: list[tuple[float, int]] = []
        self._waiting: set[int] = set()

    def add(self, record: Any) -> None:
        match record:
            case ClientStarted():
                self._turn(record.at, "down")
            case StateTurned():
                self._turn(record.at, _word(record.state))
            case SessionOver():
                self._turn(record.at, "over")
            case Published():
                self._waiting.add(record.ticket)
            case AcceptedRecord() | Failed():
                self._waiting.discard(record.ticket)
            case _:
                return
        if isinstance(record, Published | AcceptedRecord | Failed):
            self.queue.append((record.at / NS_PER_S, len(self._waiting)))

    def _turn(self, at: int, word: str) -> None:
        if not self.states or self.states[-1][1] != word:
            self.states.append((at / NS_PER_S, word))


def _courses(records: Iterable[Any], shown: dict[str, int]) -> dict[str, _Course]:
    courses = {name: _Course() for name in shown}
    for record in records:
        course = courses.get(getattr(record, "client", ""))
        if course is not None:
            course.add(record)
    return courses


def _down(records: Iterable[Any], duration: float) -> list[Stretch]:
    down: list[Stretch] = []
    since: float | None = None
    for record in records:
        if isinstance(record, ServerKilled | ServerStopped) and since is None:
            since = record.at / NS_PER_S
        elif isinstance(record, ServerStarted) and since is not None:
            down.append((since, record.at / NS_PER_S, "server down"))
            since = None
    if since is not None:
        down.append((since, duration, "server down"))
    return down


def _messages(records: Iterable[Any], shown: dict[str, int]) -> tuple[list[PlayerMessage], int]:
    """The publishes of the clients that are shown, and how many are left out."""
    published: list[Published] = []
    numbers: dict[tuple[str, int], tuple[str | None, int]] = {}
    settled: dict[tuple[str | None, int], int] = {}
    failed: dict[tuple[str, int], int] = {}
    delivered: dict[tuple[str | None, int], list[tuple[int, float]]] = defaultdict(list)
    epoch: str | None = None
    for record in records:
        match record:
            case ServerStarted():
                epoch = record.epoch
            case Published() if record.client in shown:
                published.append(record)
            case AcceptedRecord():
                numbers.setdefault((record.client, record.ticket), (record.epoch, record.sequence_number))
            case Failed():
                failed[record.client, record.ticket] = record.at
            case AnswerGiven(sequence_number=int(number)):
                settled.setdefault((epoch, number), record.at)
            case Delivered() if record.client in shown:
                delivered[record.epoch, record.sequence_number].append((shown[record.client], record.at / NS_PER_S))
            case _:
                pass
    messages: list[PlayerMessage] = []
    deliveries = 0
    for one in published:
        name = one.client, one.ticket
        place = numbers.get(name)
        readers = [] if place is None else delivered[place]
        deliveries += len(readers)
        if len(messages) >= MESSAGES_MAX or deliveries > DELIVERIES_MAX:
            return messages, len(published) - len(messages)
        accepted = None if place is None else settled.get(place)
        lost = failed.get(name)
        messages.append(
            PlayerMessage(
                one.at / NS_PER_S,
                shown[one.client],
                one.event_type,
                None if accepted is None else accepted / NS_PER_S,
                readers,
                None if lost is None else lost / NS_PER_S,
            )
        )
    return messages, 0
