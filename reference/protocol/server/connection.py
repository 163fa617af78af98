"""The server's half of one connection: who is at the other end, and what it may say now.

A WebSocket says hello, is authenticated, and is then live; an HTTP request says one thing and gets one answer. `states` has the
table; `run` decides what each frame does.
"""

from dataclasses import dataclass, field

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.rate_limit import TokenBucket
from reference.protocol.server.sequencer import Answer
from reference.protocol.server.session_table import Session
from reference.protocol.states import SERVER_MAY_RECEIVE, ConnectionState, Transport

USER_ID_CHARACTERS_MAX = 128


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose token it was. Times are in ns on the server's clock; `expires_at` is None for a token without an end."""

    user_id: str
    expires_at: int | None = None
    issued_at: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.user_id) <= USER_ID_CHARACTERS_MAX:
            raise RemoteError(CloseCode.FORBIDDEN, f"a user id has 1 to {USER_ID_CHARACTERS_MAX} characters")


@dataclass(slots=True)
class Connection:
    """One connection to a run."""

    connection_id: int
    transport: Transport
    state: ConnectionState
    identity: Identity | None
    rate_limit: TokenBucket
    new_session_id: str
    """Drawn by the driver, for the session if it is a new one."""
    hello: frames.Hello | None = None
    """Until it is answered; it is not kept, for there may be a token in it."""
    client_id: str = ""
    """Who speaks, once it has said so."""
    session: Session | None = None
    results: dict[int, Answer] = field(default_factory=dict)
    """The answers to a publish request so far, by client sequence number."""
    expected: tuple[int, ...] = ()
    """The client sequence numbers of a publish request, in its order."""

    def take_frames(self, frames: int, now: int) -> int:
        """That many frames came. Returns how many of them are not too many (8.41)."""
        return self.rate_limit.take(now, frames)

    def check(self, frame: frames.Frame) -> None:
        """Raise RemoteError unless the peer may say this now."""
        if type(frame) in SERVER_MAY_RECEIVE[self.state]:
            return
        name = type(frame).__name__.lower()
        raise RemoteError(CloseCode.BAD_FRAME, f"{name} is not allowed while {self.state.value.replace('_', ' ')}")


def too_many_frames() -> RemoteError:
    """Why a connection is closed that says more than it may (8.41)."""
    return RemoteError(CloseCode.RATE, "more frames than this server takes from one connection", Limit.FRAME_RATE)


def session_of(connection: Connection) -> Session:
    """The session of a live connection."""
    assert connection.session is not None, "a live connection has a session"
    return connection.session
