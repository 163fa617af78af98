"""The outgoing queue of one WebSocket: frames are pushed while its socket takes them, and kept within a limit while it does not.

There are two kinds of frames. *Control frames* (answers, pongs, presence) are for this connection alone, and wait here when its
socket is full, at most `CONTROL_FRAMES_MAX` of them: above that the reader is too slow (8.18). *Batches* of the log never wait
here: a lagging reader has a cursor in the log (8.17). A connection whose socket is full *drains*, in rounds: the control frames
that wait when a round begins, then one batch, so that neither kind can block the other for ever.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from reference.protocol.actions import Close

CONTROL_FRAMES_MAX = 256
"""Control frames that may wait for the socket of one connection; the default of a server's setting."""

T = TypeVar("T")
In = TypeVar("In", contravariant=True)


class Socket(Protocol[In]):
    """One WebSocket of a world. No method waits. `In` is a frame in the form that the world sends: encoded, or measured."""

    @property
    def is_blocked(self) -> bool:
        """Whether the socket is full."""

    def push(self, item: In) -> bool:
        """Send one whole item; called only when the socket is not full. Returns whether it is full now."""

    def close(self, waiting: Sequence[In], close: Close) -> None:
        """Close, after sending what was pushed before and then `waiting`; a code of None cuts at once. Nothing is pushed after
        this."""


class Outgoing(Generic[T]):
    """The frames waiting for one WebSocket."""

    __slots__ = ("_control", "_control_max", "_left_in_round", "_socket", "connection_id", "is_draining")

    def __init__(self, connection_id: int, socket: Socket[T], control_frames_max: int) -> None:
        self.connection_id = connection_id
        self.is_draining = False
        """Whether its socket was full; then it is served in rounds until nothing waits."""
        self._socket = socket
        self._control: list[T] = []  # not a deque, which takes 0.7 KiB when it is empty
        self._control_max = control_frames_max
        self._left_in_round: int | None = None  # control frames before the next batch; None: all that wait when the round begins

    @property
    def waiting(self) -> int:
        """Control frames that wait for the socket."""
        return len(self._control)

    @property
    def is_blocked(self) -> bool:
        """Whether the socket is full."""
        return self._socket.is_blocked

    def send(self, item: T) -> bool:
        """Send one control frame, now or later. False: too many wait already, and it was dropped (8.18)."""
        if not self.is_draining:
            if self._socket.push(item):
                self.drain()
            return True
        if len(self._control) >= self._control_max:
            return False
        self._control.append(item)
        return True

    def offer(self, item: T) -> bool:
        """Send a batch of the log if the socket takes it. False: it was not taken; the log keeps the events (8.17)."""
        if self.is_draining:
            return False
        if self._socket.push(item):
            self.drain()
        return True

    def push(self, item: T) -> None:
        """Send the next item of a round."""
        self._socket.push(item)

    def drain(self) -> None:
        """The socket is full: serve it in rounds, as soon as it has room."""
        if not self.is_draining:
            self.is_draining = True
            self._left_in_round = None

    def take_control(self) -> T | None:
        """The next control frame of this round; None: a batch is next, then `begin_round`."""
        if self._left_in_round is None:
            self._left_in_round = len(self._control)
        if not self._left_in_round:
            return None
        self._left_in_round -= 1
        return self._control.pop(0)

    def begin_round(self) -> bool:
        """The batch of this round was sent. Returns whether control frames wait."""
        self._left_in_round = len(self._control)
        return bool(self._control)

    def close(self, close: Close) -> None:
        """Close after everything sent before."""
        waiting, self._control = self._control, []
        self._socket.close(waiting, close)
