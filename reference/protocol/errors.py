"""Close codes and error codes: what went wrong, on which side, and how a client may react.

A close code is a number between 4000 and 4999, the same on a WebSocket close and in the body of an HTTP answer. Its first two
digits say how to react, so that a client can handle a code it does not know:

    40xx  the connection failed, the session did not: reconnect and resume
    41xx  the session has another owner, or no longer exists
    44xx  something must be fixed first; reconnecting unchanged would fail again
"""

import enum

import msgspec

from reference.protocol.limits import Limit


class CloseCode(enum.IntEnum):
    """Why a connection ended (protocol 6.1)."""

    GOING_AWAY = 4001
    HEARTBEAT_LOST = 4003
    TOO_SLOW = 4008
    RATE = 4029
    OVERLOADED = 4030
    SUPERSEDED = 4101
    SESSION_EXPIRED = 4102
    BAD_FRAME = 4400
    TOKEN = 4401
    FORBIDDEN = 4403
    NO_SUCH_RUN = 4404
    VERSION = 4406
    TOO_BIG = 4413


class Reaction(enum.Enum):
    """What a client does after a connection ended."""

    RESUME = "come back after a wait and resume"
    NEW_SESSION = "come back after a wait, with the position but without the session id"
    NEW_TOKEN = "get a new token first, then come back"
    STOP = "never come back"


_REACTIONS: dict[int, Reaction] = {
    CloseCode.SUPERSEDED: Reaction.STOP,
    CloseCode.SESSION_EXPIRED: Reaction.NEW_SESSION,
    CloseCode.TOKEN: Reaction.NEW_TOKEN,
}
_REACTIONS_BY_FIRST_DIGITS = {
    40: Reaction.RESUME,
    41: Reaction.NEW_SESSION,
    44: Reaction.STOP,
}


def reaction_to(code: int | None) -> Reaction:
    """How to react to a close with `code`; None means that the connection was cut without a code.

    WebSocket's own codes (1000 to 1015) come from proxies and crashing servers as often as from a decision, so after them the
    client may always resume.
    """
    if code is None:
        return Reaction.RESUME
    return _REACTIONS.get(code) or _REACTIONS_BY_FIRST_DIGITS.get(code // 100, Reaction.RESUME)


class RejectCode(enum.StrEnum):
    """Why one publish was refused; `is_retryable` says whether the same publish may be tried again."""

    INVALID_EVENT = "invalid_event"
    UNKNOWN_EVENT_TYPE = "unknown_event_type"
    STATE_FULL = "state_full"
    TOO_MANY_CLIENTS = "too_many_clients"
    ANSWER_EXPIRED = "answer_expired"
    OUT_OF_ORDER = "out_of_order"
    TOO_MANY_UNANSWERED = "too_many_unanswered"
    RATE = "rate"
    OVERLOADED = "overloaded"

    @property
    def is_retryable(self) -> bool:
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        RejectCode.OUT_OF_ORDER,
        RejectCode.TOO_MANY_UNANSWERED,
        RejectCode.RATE,
        RejectCode.OVERLOADED,
    }
)


class SteadywireError(Exception):
    """The base of all errors that this package raises on purpose."""


class ConfigError(SteadywireError, ValueError):
    """A parameter set that cannot work; the message names the parameter, its limit and the given value."""


class LocalError(SteadywireError):
    """A fault of this side: the application asked for something that the protocol or the state does not allow."""


class OutboxFull(LocalError):
    """The client queue is full and its policy is to reject new messages."""


class InvalidEvent(LocalError):
    """An event that every server would refuse: unknown type, missing field, or data that JSON cannot represent."""


class SessionClosed(LocalError):
    """The session has ended; nothing more can be published on it. `code` is the close code that ended it, None if this side ended
    it."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class RemoteError(SteadywireError):
    """A fault of the peer: it sent what the protocol forbids. `code` is the code with which to close its connection.

    `limit` is the limit that it exceeded, if that is the reason.
    """

    def __init__(self, code: CloseCode, message: str, limit: Limit | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message  # for people (10.9)
        self.limit = limit


class HttpProblem(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of every HTTP answer that is not a success: the same codes as on a WebSocket close."""

    code: int
    message: str
    retry_after_ms: int | None = None
    """Milliseconds to wait before the next try, when the server asks for a wait."""
