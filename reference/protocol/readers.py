"""The readers' sockets: who takes what, who does not, and for how long that may go on.

`fan_out` keeps the cursors; here is what their drivers report. A reader that lags is given batch after batch as its socket takes
them; one whose socket takes nothing at all for a while is closed by its timer.
"""

from reference.protocol.actions import Deliver
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.fan_out import FanOut
from reference.protocol.presence import Attendance
from reference.protocol.run_desk import RunDesk, RunTimer
from reference.protocol.timers import NS_PER_MS, ns


class Readers:
    """Moves the cursors of one run's readers as their drivers report."""

    __slots__ = ("_attendance", "_desk", "_fan_out")

    def __init__(self, desk: RunDesk, fan_out: FanOut, attendance: Attendance) -> None:
        self._desk = desk
        self._fan_out = fan_out
        self._attendance = attendance

    def next_batch(self, connection_id: int, now: int) -> Deliver | None:
        """What a lagging reader is given next. None: it is current now, and has been sent the presence that it missed."""
        batch = self._fan_out.next_batch(connection_id)
        if batch is not None:
            self._watch(connection_id, now)
            return batch
        seen = self._fan_out.catch_up(connection_id)
        if seen is not None:
            self._desk.timers.cancel((RunTimer.STALLED, connection_id))
            if seen != self._attendance.version:
                for frame in self._attendance.full(now // NS_PER_MS):
                    self._desk.send((connection_id,), frame)
        return None

    def refused(self, connection_id: int, batch: Deliver, now: int) -> None:
        """The socket took nothing of a batch."""
        self._fan_out.took_nothing_of(connection_id, batch, self._attendance.version)
        self._watch_lag(connection_id, now)

    def blocked(self, connection_id: int, batch: Deliver, now: int) -> None:
        """The socket took a batch, and can take no more now."""
        self._fan_out.took_no_more_than(connection_id, batch, self._attendance.version)
        self._watch_lag(connection_id, now)

    def bytes_taken(self, connection_id: int, now: int) -> None:
        """The socket has taken some bytes: it is slow, but it moves."""
        if (RunTimer.STALLED, connection_id) in self._desk.timers:
            self._watch(connection_id, now)

    def acknowledged(self, number: int, head: int) -> None:
        """The client has handed over everything up to `number`. Raises RemoteError for what cannot be."""
        if number > head:
            raise RemoteError(CloseCode.BAD_FRAME, f"ack of {number}; the head is {head}")

    def _watch_lag(self, connection_id: int, now: int) -> None:
        if (RunTimer.STALLED, connection_id) not in self._desk.timers and self._fan_out.is_lagging(connection_id):
            self._watch(connection_id, now)

    def _watch(self, connection_id: int, now: int) -> None:
        self._desk.timers.set((RunTimer.STALLED, connection_id), now + ns(self._desk.config.slow_reader_timeout_s))
