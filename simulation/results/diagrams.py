"""Message-sequence diagrams of a trace: the frames between clients and server, with notes about other events.

    log = message_log_of(trace, 20.0, 25.0, clients=("mobile-0",))
    print("\n".join(log.lines()))
    sequence_diagram(log)                      # a matplotlib figure

Time runs down. A slanted arrow was long in flight; an arrow that ends in a cross never arrived. Arrows need frames in the trace
(`record_frames = true` in the scenario). A trace without frames, such as one of real processes, shows its notes: states,
publishes, deliveries, faults.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.results.figure import ShownFigure
from simulation.scenario.faults import describe
from simulation.trace.frames_seen import FrameSeen
from simulation.trace.messages import LoggedMessage, LoggedNote, MessageLog
from simulation.trace.trace import (
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
ROWS_MAX = 400
_ROW_IN = 0.26
_COLUMN_IN = 3.4
_LINE = "#8a8f98"
_ARROW = "#1f5fa8"
_LOST = "#b3261e"
_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}


def sequence_diagram(message_log: MessageLog, *, title: str = "", rows_max: int = ROWS_MAX) -> Figure:
    """Draw a message log. Each sending, arrival and note has its own row, so rows are in order of time, but not to scale.

    Beyond `rows_max` rows (the first are kept) nothing is drawn; the figure says so.
    """
    places = message_log.places
    x_of = {place: float(index) for index, place in enumerate(places)}
    rows = _rows(message_log)
    cut = len(rows) > rows_max
    rows = rows[:rows_max]
    row_of = {key: number for number, (_, key, _) in enumerate(rows)}
    figure = ShownFigure(figsize=(max(6.0, _COLUMN_IN * len(places)), 1.2 + _ROW_IN * max(4, len(rows))), layout="constrained")
    axes = figure.subplots()
    for place, x in x_of.items():
        axes.axvline(x, color=_LINE, linewidth=1, zorder=0)
        axes.text(x, -1.6, place, ha="center", va="bottom", weight="bold", bbox=_BOX)
    for number, (at, _, entry) in enumerate(rows):
        if number == 0 or rows[number - 1][0] != at:
            axes.text(-0.62, number, f"{at / NS_PER_S:.3f} s", ha="left", va="center", fontsize=7, color=_LINE)
        if isinstance(entry, LoggedNote):
            x = x_of.get(entry.place, (len(places) - 1) / 2)
            weight = "normal" if entry.place else "bold"
            axes.text(x, number, _short(entry.words), ha="center", va="center", fontsize=7, weight=weight, bbox=_BOX)
        elif row_of[id(entry), "sent"] == number:
            _draw(axes, entry, x_of, number, row_of.get((id(entry), "arrived")))
    axes.set_xlim(-0.65, max(len(places) - 1, 0) + 0.65)
    axes.set_ylim(max(len(rows), 4) + 0.5, -2.5)
    axes.axis("off")
    if title or cut:
        axes.set_title(
            title + (f" (the first {rows_max} of {len(_rows(message_log))} rows)" if cut else ""), loc="left", fontsize=10
        )
    return figure


def _rows(message_log: MessageLog) -> list[tuple[int, tuple[int, str], LoggedMessage | LoggedNote]]:
    """A time, a key and an entry for each row."""
    rows: list[tuple[int, int, tuple[int, str], LoggedMessage | LoggedNote]] = []
    for order, entry in enumerate(message_log.entries):
        if isinstance(entry, LoggedNote):
            rows.append((entry.at, order, (id(entry), "note"), entry))
            continue
        rows.append((entry.sent_at, order, (id(entry), "sent"), entry))
        if entry.arrived_at is not None and entry.arrived_at - entry.sent_at > NS_PER_S // 100:
            rows.append((entry.arrived_at, order, (id(entry), "arrived"), entry))
    return [(at, key, entry) for at, _, key, entry in sorted(rows, key=lambda row: row[:2])]


def _draw(axes: Axes, message: LoggedMessage, x_of: dict[str, float], row: int, arrival_row: int | None) -> None:
    start, end = x_of[message.sender], x_of[message.receiver]
    is_lost = message.arrived_at is None
    color = _LOST if is_lost else _ARROW
    if is_lost:
        end = start + 0.6 * (end - start)
    end_row = row if arrival_row is None else arrival_row
    axes.annotate("", xy=(end, end_row), xytext=(start, row), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1})
    if is_lost:
        axes.text(end, end_row, "x", color=color, ha="center", va="center", weight="bold")
    axes.text((start + end) / 2, row - 0.18, _short(message.words), ha="center", va="bottom", fontsize=7, color=color, bbox=_BOX)


def _short(words: str) -> str:
    return words if len(words) <= 70 else words[:69] + "…"


def message_log_of(trace: Trace, start_s: float = 0.0, end_s: float | None = None, clients: Iterable[str] = ()) -> MessageLog:
    """The frames and events from `start_s` until `end_s` (None: the end), by these clients (none: all) and the server.

    Raises ConfigError for a client that the trace does not know, and for an interval that ends before it begins.
    """
    start, end = ns(start_s), None if end_s is None else ns(end_s)
    if end is not None and end < start:
        raise ConfigError(f"the interval from {start_s:g} s to {end_s:g} s ends before it begins")
    wanted = tuple(clients)
    known = {record.client for record in trace if isinstance(record, StateTurned)}
    for client in wanted:
        if client not in known:
            raise ConfigError(f"there is no client {client!r} in the trace; it has {len(known)}: {', '.join(sorted(known)[:10])}")
    message_log = MessageLog()
    given: list[Delivered] = []  # at one instant to one client; shown as one

    def note_given() -> None:
        if given:
            first, last = given[0], given[-1]
            numbers = f"{first.sequence_number}" + (f" to {last.sequence_number}" if len(given) > 1 else f" {first.event_type}")
            message_log.note(first.client, f"is given {numbers}", first.at)
            given.clear()

    for at, number, record in _in_order(trace):
        if given and not (isinstance(record, Delivered) and (record.at, record.client) == (given[0].at, given[0].client)):
            note_given()
        is_within = start <= at and (end is None or at <= end)
        if isinstance(record, FrameSeen):
            if wanted and record.client not in wanted:
                continue
            sender, receiver = (record.client, SERVER) if record.way == "up" else (SERVER, record.client)
            if record.moment == "arrived":
                message_log.arrived(number, at)  # a frame sent before the interval is not shown
            elif is_within:
                message_log.sent(number, sender, receiver, record.words, at)
        elif isinstance(record, Delivered):
            if is_within and (not wanted or record.client in wanted):
                given.append(record)
        elif is_within:
            place, words = _note(record)
            if words and (not wanted or place in (*wanted, SERVER, "")):
                message_log.note(place, words, at)
    note_given()
    return message_log


def _in_order(trace: Trace) -> Iterator[tuple[int, int, Record]]:
    """Each record with its time; for a frame also the number of its message, equal for sending and arrival.

    The frames of one connection in one direction arrive in order or not at all.
    """
    in_flight: dict[tuple[int, str], deque[tuple[int, str]]] = {}
    messages = 0
    for record in trace:
        if not isinstance(record, FrameSeen):
            yield record.at, 0, record
            continue
        queue = in_flight.setdefault((record.connection, record.way), deque())
        if record.moment == "sent":
            messages += 1
            queue.append((messages, record.words))
            yield record.at, messages, record
        elif queue:
            yield record.at, queue.popleft()[0], record


def _note(record: Record) -> tuple[str, str]:
    """The place of an event, and its text; no text for records that repeat frames."""
    match record:
        case StateTurned(client=client, state=state, is_carried=is_carried):
            return client, f"{state.value}, carried" if is_carried and state.is_polling else state.value
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
