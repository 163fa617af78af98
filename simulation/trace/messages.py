"""The message log: who sent what to whom, when it was sent and when it arrived, with notes about other events.

    message_log = MessageLog()
    play(setup, schedule, message_log=message_log)             # simulation.adversary.settling
    print("\n".join(message_log.lines()))                     # or simulation.results.diagrams.sequence_diagram(message_log)

A message that never arrived is in the log too, because faults cause that. Messages in one direction of a connection arrive in
order or not at all, so a message is identified by its place in that order.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from reference.protocol.timers import NS_PER_S

_KEEPALIVE = ("ping", "pong", "heartbeat")


@dataclass
class LoggedMessage:
    """One message; times in ns. `arrived_at` None: never."""

    sender: str
    receiver: str
    words: str
    sent_at: int
    arrived_at: int | None = None


@dataclass(frozen=True)
class LoggedNote:
    """An event at one place; place "" is the world."""

    place: str
    words: str
    at: int


@dataclass
class MessageLog:
    """Messages in the order in which they were sent, with notes between them; bounded by the run that it records."""

    entries: list[LoggedMessage | LoggedNote] = field(default_factory=list)
    _arrivals: list[tuple[int, LoggedMessage | LoggedNote]] = field(default_factory=list)
    """The items of `lines`, in order."""
    _under_way: dict[Hashable, deque[LoggedMessage]] = field(default_factory=dict)

    @property
    def messages(self) -> list[LoggedMessage]:
        return [entry for entry in self.entries if isinstance(entry, LoggedMessage)]

    @property
    def notes(self) -> list[LoggedNote]:
        return [entry for entry in self.entries if isinstance(entry, LoggedNote)]

    @property
    def places(self) -> list[str]:
        """All senders and receivers, clients first, in the order of their first appearance."""
        names: dict[str, None] = {}
        for entry in self.entries:
            for name in (entry.sender, entry.receiver) if isinstance(entry, LoggedMessage) else (entry.place,):
                if name:
                    names[name] = None
        return sorted(names, key=lambda name: name == "server")

    def note(self, place: str, words: str, now: int) -> None:
        note = LoggedNote(place, words, now)
        self.entries.append(note)
        self._arrivals.append((now, note))

    def sent(self, way: Hashable, sender: str, receiver: str, words: str, now: int) -> None:
        """`way`: identifies an ordered channel, such as one direction of a connection."""
        message = LoggedMessage(sender, receiver, words, now)
        self.entries.append(message)
        self._under_way.setdefault(way, deque()).append(message)

    def arrived(self, way: Hashable, now: int) -> None:
        """The oldest message of this channel that had not arrived arrives."""
        under_way = self._under_way.get(way)
        if under_way:
            message = under_way.popleft()
            message.arrived_at = now
            self._arrivals.append((now, message))

    def without_keepalive(self) -> "MessageLog":
        """The same without pings, pongs and heartbeats, which rarely matter."""
        are_keepalive = {id(message) for message in self.messages if message.words.split()[0] in _KEEPALIVE}
        return MessageLog(
            [entry for entry in self.entries if id(entry) not in are_keepalive],
            [(at, entry) for at, entry in self._arrivals if id(entry) not in are_keepalive],
        )

    def lines(self) -> Iterator[str]:
        """A line for each arrival and each note, and at the end the messages that never arrived."""
        for at, entry in self._arrivals:
            match entry:
                case LoggedMessage():
                    way = f"{entry.sender} -> {entry.receiver}"
                    late = "" if at - entry.sent_at <= NS_PER_S // 100 else f"   (sent at {_seconds(entry.sent_at)})"
                    yield f"{_seconds(at)}  {way:<18}  {entry.words}{late}"
                case LoggedNote(place=""):
                    yield f"{_seconds(at)}  -- {entry.words}"
                case LoggedNote():
                    yield f"{_seconds(at)}  {entry.place:<18}  {entry.words}"
        for message in self.messages:
            if message.arrived_at is None:
                way = f"{message.sender} -> {message.receiver}"
                yield f"never arrived  {way:<18}  {message.words}   (sent at {_seconds(message.sent_at)})"


def _seconds(at: int) -> str:
    return f"{at / NS_PER_S:9.3f} s"
