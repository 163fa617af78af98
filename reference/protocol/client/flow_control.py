"""Flow control towards the application: what it has not taken yet, and what waits until it takes more.

A session that is made with `outcomes_waiting_max` counts the sequenced outcomes (numbered events, snapshots, resets) that it has
handed over and that the application has not taken (`ClientSession.application_took`). While that many wait, frames with events
are postponed: the session hands over as many events as there is room for and asks its driver to read no further from the
connection that brought them (`PauseReading`). TCP fills up, and the server sees a reader that lags. An application that takes at
least one event within the patience is served like this for as long as it likes, at its own pace.

That cannot be the whole answer, because on the same stream of bytes pongs and answers stand behind the events. If nothing were
read, the connection would count as half-open and be left, the next one would fare no better; and an application that waits for
its own publish inside its reading loop would wait for an answer that stands behind events that only it can take. So when nothing
was taken for the patience, the session *holds* (protocol 7.19): it reads on, answers pings, takes answers and presence, and
leaves the events to the server, its position unmoved. When half of the room is free again, it goes on from its position by a
resume. Nothing is dropped; a reader whom the run has left too far behind gets a snapshot in place of what it missed.
"""

from reference.protocol import frames
from reference.protocol.client.outcomes import Outcome, ResetReceived, SnapshotReceived
from reference.protocol.events import Event

_NEED_ROOM = (frames.Events, frames.SnapshotFrame, frames.PollAnswer)


def is_sequenced(outcome: Outcome) -> bool:
    """Whether an outcome counts until the application takes it: latest values and answers do not."""
    if type(outcome) is Event:
        return outcome.sequence_number is not None
    return isinstance(outcome, SnapshotReceived | ResetReceived)


class FlowControl:
    """Bounded by `outcomes_max` sequenced outcomes, and by one postponed frame for each connection that is read one at a time.

    waiting: sequenced outcomes that the application has not taken. is_holding: the session holds because nothing was taken.
    """

    __slots__ = ("_postponed", "_worth_waiting_for", "is_holding", "outcomes_max", "paused", "waiting")

    def __init__(self, outcomes_max: int) -> None:
        self.outcomes_max = outcomes_max
        self.waiting = 0
        self.is_holding = False
        self.paused: dict[int, None] = {}
        """Connections that the driver was asked not to read."""
        self._postponed: dict[int, list[frames.Frame]] = {}
        self._worth_waiting_for = max(1, outcomes_max // 4)

    @property
    def room(self) -> int:
        """How many more sequenced outcomes may be handed over now."""
        return max(0, self.outcomes_max - self.waiting)

    @property
    def is_half_empty(self) -> bool:
        return self.waiting <= self.outcomes_max // 2

    @property
    def postponed(self) -> int:
        """Frames that wait for room."""
        return sum(map(len, self._postponed.values()))

    @property
    def waits(self) -> tuple[int, ...]:
        """Connections of which something is postponed."""
        return tuple(self._postponed)

    def must_queue(self, connection_id: int, frame: frames.Frame, *, is_stream: bool) -> bool:
        """Whether a frame has to go through `postpone`: it needs room, or stands behind one that does on the same stream."""
        return isinstance(frame, _NEED_ROOM) or (is_stream and connection_id in self._postponed)

    def postpone(self, connection_id: int, frame: frames.Frame) -> None:
        self._postponed.setdefault(connection_id, []).append(frame)

    def forget(self, connection_id: int) -> None:
        """The connection is gone, and what it brought and nobody has taken is brought again by the next one."""
        self._postponed.pop(connection_id, None)
        self.paused.pop(connection_id, None)

    def next_readable(self, *, takes_any: bool, is_patient: bool) -> tuple[int, frames.Frame] | None:
        """The next frame, or part of one, that may be handed over now. `takes_any`: events need no room, for they are not taken.

        `is_patient`: it is worth waiting for room for all that a frame brings, or for a good part of `outcomes_max`: a reader
        that is a little too slow would otherwise be served event by event.
        """
        for connection_id, queue in self._postponed.items():
            frame = queue[0]
            wanted = len(frame.events) if isinstance(frame, frames.Events) else int(isinstance(frame, _NEED_ROOM))
            least = min(wanted, self._worth_waiting_for if is_patient else 1)
            if not takes_any and self.room < least:
                continue
            if takes_any or self.room >= wanted or not isinstance(frame, frames.Events):
                del queue[0]
                if not queue:
                    del self._postponed[connection_id]
                return connection_id, frame
            room = self.room
            queue[0] = frames.Events(frame.events[room:])
            return connection_id, frames.Events(frame.events[:room])
        return None

    def took(self, count: int) -> None:
        """The application has taken so many."""
        assert count <= self.waiting, "only what was handed over is taken"
        self.waiting -= count
