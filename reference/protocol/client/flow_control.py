"""Flow control towards the application: limits how many events wait until the application takes them.

A session created with `outcomes_waiting_max` counts sequenced outcomes (numbered events, snapshots, resets) that it has delivered
and the application has not taken yet (`ClientSession.application_took`). When the limit is reached, frames with events are
postponed: the session delivers as many events as there is room for and asks its driver to stop reading from that connection
(`PauseReading`). TCP's buffers fill, and the server sees a lagging reader. An application that takes at least one event within
`patience_s` is served like this for as long as it likes, at its own speed.

Pausing alone is not enough, because pongs and answers stand behind the events in the same byte stream. If nothing were read, the
connection would count as half-open and be closed, and so would the next one. And an application that waits for its own publish
inside its reading loop would wait for an answer behind events that only it can take. So when the application has taken nothing
for `patience_s`, the session *holds* (protocol 7.19): it reads on, answers pings, takes answers and presence, but does not take
the events; its position stays. When half of the room is free again, it goes on from its position with a resume. Nothing is
dropped; a reader that has fallen too far behind gets a snapshot in place of the events it missed.
"""

from reference.protocol import frames
from reference.protocol.client.outcomes import Outcome, ResetReceived, SnapshotReceived
from reference.protocol.events import Event

_NEED_ROOM = (frames.Events, frames.SnapshotFrame, frames.PollAnswer)


def is_sequenced(outcome: Outcome) -> bool:
    """Whether an outcome counts until the application takes it: latest values and answers do not count."""
    if type(outcome) is Event:
        return outcome.sequence_number is not None
    return isinstance(outcome, SnapshotReceived | ResetReceived)


class FlowControl:
    """Bounded by `outcomes_max` sequenced outcomes, and by one postponed frame for each connection that is read one frame at a
    time.

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
        """How many more sequenced outcomes may be delivered now."""
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
        """Connections with postponed frames."""
        return tuple(self._postponed)

    def must_queue(self, connection_id: int, frame: frames.Frame, *, is_stream: bool) -> bool:
        """Whether a frame must go through `postpone`: it needs room, or follows one that does on the same stream."""
        return isinstance(frame, _NEED_ROOM) or (is_stream and connection_id in self._postponed)

    def postpone(self, connection_id: int, frame: frames.Frame) -> None:
        self._postponed.setdefault(connection_id, []).append(frame)

    def forget(self, connection_id: int) -> None:
        """The connection is gone; the next one brings again what was not taken from it."""
        self._postponed.pop(connection_id, None)
        self.paused.pop(connection_id, None)

    def next_readable(self, *, takes_any: bool, is_patient: bool) -> tuple[int, frames.Frame] | None:
        """The next frame, or part of one, that may be delivered now. `takes_any`: events need no room, because they are not
        taken.

        `is_patient`: wait until there is room for the whole frame or for a good part of `outcomes_max`; otherwise a reader that
        is slightly too slow would be served event by event.
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
        """The application has taken this many."""
        assert count <= self.waiting, "only what was handed over is taken"
        self.waiting -= count
