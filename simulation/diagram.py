"""Message-sequence diagrams of any stretch of a trace: who said what to whom, and what happened meanwhile.

    tape = tape_of(trace, 20.0, 25.0, clients=("mobile-0",))
    print("\n".join(tape.lines()))
    sequence_diagram(tape)                      # the figure; simulation.sequence_diagram

Arrows need frames in the trace (`record_frames = true` in the scenario, `simulation.frames_seen`). A trace without them, a real
one for instance, gives its notes: states, publishes, deliveries, faults.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

from reference.protocol.errors import ConfigError
from reference.protocol.timers import ns
from simulation.faults import describe
from simulation.frames_seen import FrameSeen
from simulation.hostile.tape import Tape
from simulation.plots import save
from simulation.sequence_diagram import sequence_diagram
from simulation.trace import (
    ConnectionLost,
    Delivered,
    Failed,
    FaultHappened,
    FaultOver,
    LeaveAsked,
    Published,
    Record,
    ResetTaken,
    ServerKilled,
    ServerStarted,
    ServerStopped,
    SessionOver,
    SnapshotTaken,
    StateTurned,
    Trace,
)

SERVER = "server"
LINES_MAX = 10_000
"""Lines that are printed; the stretch has to be made shorter for more."""


def tape_of(trace: Trace, start_s: float = 0.0, end_s: float | None = None, clients: Iterable[str] = ()) -> Tape:
    """What was sent or happened from `start_s` until `end_s` (None: the end), by these clients (none: all) and the server.

    Raises ConfigError for a client that the trace does not know, and for a stretch that ends before it begins.
    """
    start, end = ns(start_s), None if end_s is None else ns(end_s)
    if end is not None and end < start:
        raise ConfigError(f"the stretch from {start_s:g} s to {end_s:g} s ends before it begins")
    wanted = tuple(clients)
    known = {record.client for record in trace if isinstance(record, StateTurned)}
    for client in wanted:
        if client not in known:
            raise ConfigError(f"the trace knows no client {client!r}; there are {', '.join(sorted(known)[:10])}, ...")
    tape = Tape()
    given: list[Delivered] = []  # at one instant to one client; told as one

    def tell_given() -> None:
        if given:
            first, last = given[0], given[-1]
            numbers = f"{first.sequence_number}" + (f" to {last.sequence_number}" if len(given) > 1 else f" {first.event_type}")
            tape.note(first.client, f"is given {numbers}", first.at)
            given.clear()

    for at, way, record in _in_order(trace):
        if given and not (isinstance(record, Delivered) and (record.at, record.client) == (given[0].at, given[0].client)):
            tell_given()
        is_within = start <= at and (end is None or at <= end)
        if isinstance(record, FrameSeen):
            if wanted and record.client not in wanted:
                continue
            ends = (record.client, SERVER) if record.way == "up" else (SERVER, record.client)
            if record.moment == "arrived":
                tape.arrived(way, at)  # of one that was sent before the stretch there is nothing to tell
            elif is_within:
                tape.sent(way, *ends, record.words, at)
        elif isinstance(record, Delivered):
            if is_within and (not wanted or record.client in wanted):
                given.append(record)
        elif is_within:
            place, words = _note(record)
            if words and (not wanted or place in (*wanted, SERVER, "")):
                tape.note(place, words, at)
    tell_given()
    return tape


def diagram_command(
    path: FilePath, from_s: float, to_s: float | None, clients: tuple[str, ...], png: FilePath | None, everything: bool
) -> int:
    """Print a stretch of a trace's file, and draw it; returns the exit code."""
    try:
        tape = tape_of(Trace.read(path), from_s, to_s, clients)
        tape = tape if everything else tape.without_pulse()
        lines = list(tape.lines())
        for line in lines[:LINES_MAX]:
            print(line)
        if len(lines) > LINES_MAX:
            print(f"... and {len(lines) - LINES_MAX} more; make the stretch shorter with --from, --to or --client")
        if not tape.messages:
            print("no frames in this stretch: a trace has them if its scenario says `record_frames = true`", file=sys.stderr)
        if png is not None:
            save(sequence_diagram(tape, title=f"{path.name}, from {from_s:g} s"), png)
    except ConfigError as error:
        print(f"steadywire diagram: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"steadywire diagram: {error.filename or path}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def _in_order(trace: Trace) -> Iterator[tuple[int, int, Record]]:
    """Each record with its time; for a frame also the number of its message, the same when it is sent and when it arrives.

    What a connection carries one way arrives in order or not at all.
    """
    under_way: dict[tuple[int, str], deque[tuple[int, str]]] = {}
    messages = 0
    for record in trace:
        if not isinstance(record, FrameSeen):
            yield record.at, 0, record
            continue
        queue = under_way.setdefault((record.connection, record.way), deque())
        if record.moment == "sent":
            messages += 1
            queue.append((messages, record.words))
            yield record.at, messages, record
        elif queue:
            yield record.at, queue.popleft()[0], record


def _note(record: Record) -> tuple[str, str]:
    """Where something happened, and what; no words for what the frames tell anyway."""
    match record:
        case StateTurned(client=client, state=state):
            return client, state.value
        case Published(client=client, event_type=event_type, ticket=ticket):
            return client, f"publishes {event_type} ({ticket})"
        case SnapshotTaken(client=client, sequence_number=number):
            return client, f"is given the snapshot at {number}"
        case ResetTaken(client=client, sequence_number=number):
            return client, f"is reset to {number}"
        case Failed(client=client, ticket=ticket, code=code):
            return client, f"publish {ticket} has failed: {code}"
        case ConnectionLost(client=client, code=code, message=message):
            return client, f"lost {record.request or 'its connection'}: {message or code}"
        case LeaveAsked(client=client):
            return client, "leaves"
        case SessionOver(client=client, message=message):
            return client, f"its session is over: {message}"
        case FaultHappened(fault=fault):
            return "", describe(fault)
        case FaultOver(fault=fault):
            return "", f"over: {describe(fault)}"
        case ServerKilled():
            return SERVER, "is killed"
        case ServerStopped():
            return SERVER, "has stopped"
        case ServerStarted(head=head):
            return SERVER, f"starts, head {head}"
        case _:
            return "", ""
