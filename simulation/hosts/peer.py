"""A WebSocket as the server's process sees it: what it takes, and what waits for it.

As in the trio shell: when the send buffer has had enough, frames of control (answers, pongs, presence) wait in a bounded queue,
and the peer is drained in rounds, each all the control frames that are queued when it begins and then one batch of the log, until
there is nothing. Events do not queue here: a reader that lags has a cursor.
"""

import enum
from collections.abc import Callable

from reference.protocol import frames
from simulation.network.connection import Ending, WebSocketConnection

CONTROL_FRAMES_MAX = 256
"""Of one connection, waiting for room in its send buffer; as in the trio shell."""


class FrameTaken(enum.Enum):
    """What became of a batch that was offered."""

    NOTHING = "it has no room"
    ALL = "it may have more"
    LAST = "it can take no more now"


class Peer:
    """The reader of one run. `more_for` gives the next batch for it when it lags, with its size in bytes; `charge` says when
    what is sent now can leave, in ns from now; None: at once."""

    __slots__ = ("_before_batch", "_charge", "_is_closed", "_is_draining", "_more_for", "_waiting", "connection_id", "link")

    def __init__(
        self,
        connection_id: int,
        link: WebSocketConnection,
        more_for: "Callable[[Peer], tuple[frames.Frame, int] | None]",
        charge: Callable[[WebSocketConnection, frames.Frame], int] | None,
    ) -> None:
        self.connection_id = connection_id
        self.link = link
        self._more_for = more_for
        self._charge = charge
        self._waiting: list[tuple[frames.Frame, int]] = []  # not a deque, which takes 0.7 KiB when it is empty
        self._is_draining = False
        self._is_closed = False
        self._before_batch: int | None = None  # how many of the queued frames go before the next batch; None: all

    @property
    def waiting(self) -> int:
        """Frames of control that wait for room."""
        return len(self._waiting)

    def is_blocked(self) -> bool:
        """Whether it takes nothing more now, or is being drained."""
        return self._is_draining or self.link.is_blocked()

    def offer(self, frame: frames.Frame, size_bytes: int) -> FrameTaken:
        """Send a batch of the log if there is room."""
        link = self.link
        if self._is_draining or link.is_blocked():
            return FrameTaken.NOTHING
        link.send_to_client(frame, size_bytes, 0 if self._charge is None else self._charge(link, frame))
        return FrameTaken.LAST if link.is_blocked() else FrameTaken.ALL

    def push(self, frame: frames.Frame, size_bytes: int) -> None:
        """Send a frame now, whether there is room or not."""
        self.link.send_to_client(frame, size_bytes, 0 if self._charge is None else self._charge(self.link, frame))

    def send(self, frame: frames.Frame, size_bytes: int) -> bool:
        """Send a frame of control, now or when its turn comes. False: too many wait already, and it was dropped."""
        link = self.link
        if not (self._is_draining or link.is_blocked()):
            link.send_to_client(frame, size_bytes, 0 if self._charge is None else self._charge(link, frame))
            if link.is_blocked():
                self.drain()
            return True
        if len(self._waiting) >= CONTROL_FRAMES_MAX:
            return False
        self._waiting.append((frame, size_bytes))
        self.drain()
        return True

    def drain(self) -> None:
        """Bring this peer up to date as soon as there is room; `drain_now` is called when there may be."""
        if not self._is_draining:
            self._is_draining = True
            self._before_batch = None

    def drain_now(self) -> None:
        while self._is_draining and not self._is_closed and not self.link.is_blocked():
            following = self._next()
            if self._is_closed:
                return
            if following is None:
                self._is_draining = False
            else:
                self.push(*following)

    def close(self, ending: Ending) -> None:
        """Close, after what was sent before."""
        self._is_closed = True
        for frame, size_bytes in self._waiting:
            self.push(frame, size_bytes)
        self.link.server_leaves(ending)

    def _next(self) -> tuple[frames.Frame, int] | None:
        if self._before_batch is None:
            self._before_batch = len(self._waiting)
        if not self._before_batch:
            batch = self._more_for(self)
            self._before_batch = len(self._waiting)
            if batch is not None:
                return batch
        if not self._waiting:
            return None
        self._before_batch -= 1
        return self._waiting.pop(0)
