"""Wires and requests: the network between the hosts, with everything that TCP can do.

A wire is one WebSocket: two queues of messages, first in, first out, and two ends that learn of its end at different times. An
end that was not notified takes the wire for connected. Messages sent by one end before it gave the wire up may still arrive at
the other, long after newer wires were opened. A request is one HTTP exchange; it may arrive late, after it was reported lost, or
after its client has gone.
"""

from collections import deque
from dataclasses import dataclass, field

from reference.protocol import frames


@dataclass(frozen=True)
class Opened:
    """To the client: the handshake is done."""


@dataclass(frozen=True)
class End:
    """The other end is gone."""

    code: int | None = None
    message: str = ""
    retry_after_ms: int | None = None


@dataclass(eq=False)
class Wire:
    client: int
    client_end: int
    server_end: int | None = None
    up: deque[bytes | End] = field(default_factory=deque)
    down: deque[bytes | Opened | End] = field(default_factory=deque)
    client_stands: bool = True
    """The client's session has not closed it and does not know of its end."""
    server_stands: bool = False
    hangs: bool = False
    """The request to open it is not answered."""
    up_is_silent: bool = False
    down_is_silent: bool = False
    """Half-open: nothing arrives any more in this direction."""
    up_is_stalled: bool = False
    down_is_stalled: bool = False
    """Bytes are held back for now, as by a long retransmission; only a step moves them, not a calm."""
    swallows: int = 0
    """Batches that the server's driver will lose although it reports them as taken: impossible on a network, but G13 covers
    it."""
    credit: int | None = None
    """Batches that the server's socket takes before it blocks; None: any number."""
    blocked_at: int | None = None
    """Since when the server's socket has taken none of its waiting data, in ns on the clients' clock."""
    epoch: str | None = None
    """The history in its welcome."""

    @property
    def is_opening(self) -> bool:
        return self.server_end is None and not self.hangs

    @property
    def moves_up(self) -> bool:
        return bool(self.up) and self.server_end is not None and not self.up_is_silent

    @property
    def moves_down(self) -> bool:
        return bool(self.down) and not self.down_is_silent

    @property
    def is_over(self) -> bool:
        """It has no effect any more."""
        quiet_up = not self.moves_up and not (self.is_opening and self.client_stands)
        return not self.client_stands and not self.server_stands and quiet_up and not self.moves_down


@dataclass(eq=False)
class PendingRequest:
    client: int
    polling: int
    frame: frames.RequestFrame
    client_waits: bool = True
    is_stalled: bool = False
    """As for a wire."""
    server_end: int | None = None
    answer: bytes | None = None
    failure: frames.RequestFailed | None = None

    @property
    def name(self) -> str:
        return "poll" if isinstance(self.frame, frames.PollRequest) else "publishMany"

    @property
    def is_in_flight(self) -> bool:
        return self.server_end is None and self.failure is None

    @property
    def is_answered(self) -> bool:
        return self.answer is not None or self.failure is not None

    def fail(self, code: int | None, message: str, retry_after_ms: int | None = None) -> None:
        self.failure = frames.RequestFailed(
            request="poll" if self.name == "poll" else "publishMany", code=code, message=message, retry_after_ms=retry_after_ms
        )
