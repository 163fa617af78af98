"""States and transitions of client and server, as tables.

The client's session outlives its connections. One state covers both transports, because they are not independent: WebSocket is
probed only while polling carries the session, and polling ends only when the probe has proved useful.

    NEW            nothing has been tried
    CONNECTING     a WebSocket is being opened; no transport carries the session
    GREETING       it is open, hello is sent
    PROVING        welcomed: events and publishes flow, but no ping has been answered yet
    LIVE           a ping was answered: the connection is useful
    WAITING        between attempts
    POLLING        HTTP polling is open; the next probe is scheduled. Polling carries the session from its first answer on
    PROBE_CONNECTING, PROBE_GREETING, PROBE_PROVING
                   as above, while polling goes on until the probe is LIVE
    REFRESHING     the server needs another token and the application is getting one
    CLOSED         the session is over

`CLIENT_MAY_RECEIVE` and `SERVER_MAY_RECEIVE` list the frames that each side accepts in each state. A pair that is missing is a
fault of the peer: the connection is closed with BAD_FRAME. An input that is missing in a transition table is a fault of this
program: it raises.

Frames of a connection that the session has left are always ignored. A timer that falls due at the time of an input fires with it,
after it: it does not wait for the driver's alarm, so the order is the same in every world.
"""

import enum

from reference.protocol import frames


class ClientState(enum.Enum):
    """The state of a client session, covering both transports: see the module."""

    NEW = "new"
    CONNECTING = "connecting"
    GREETING = "greeting"
    PROVING = "proving"
    LIVE = "live"
    WAITING = "waiting"
    POLLING = "polling"
    PROBE_CONNECTING = "probe_connecting"
    PROBE_GREETING = "probe_greeting"
    PROBE_PROVING = "probe_proving"
    REFRESHING = "refreshing"
    CLOSED = "closed"

    # Read for every frame, so they are attributes of the members, set below.
    is_polling: bool
    """HTTP polling is open. `ClientSession.is_carried` says whether it carries the session."""
    has_websocket: bool
    """A WebSocket is welcomed: publishes are sent there."""

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python function, and these are keys on every path


class ClientInput(enum.Enum):
    """What can happen to a client session."""

    __hash__ = object.__hash__  # as above

    START = "start"
    OPENED = "opened"
    WELCOMED = "welcomed"
    PROVEN = "proven"
    LOST = "lost"
    EXHAUSTED = "exhausted"
    DUE = "due"
    TOKEN_WANTED = "token_wanted"
    TOKEN_GIVEN = "token_given"
    END = "end"


_C, _I = ClientState, ClientInput
for _state in ClientState:
    _state.is_polling = _state in (_C.POLLING, _C.PROBE_CONNECTING, _C.PROBE_GREETING, _C.PROBE_PROVING)
    _state.has_websocket = _state in (_C.PROVING, _C.LIVE, _C.PROBE_PROVING)

CLIENT_TRANSITIONS: dict[tuple[ClientState, ClientInput], ClientState] = {
    (_C.NEW, _I.START): _C.CONNECTING,
    # WebSocket only.
    (_C.CONNECTING, _I.OPENED): _C.GREETING,
    (_C.GREETING, _I.WELCOMED): _C.PROVING,
    (_C.PROVING, _I.PROVEN): _C.LIVE,
    (_C.CONNECTING, _I.LOST): _C.WAITING,
    (_C.GREETING, _I.LOST): _C.WAITING,
    (_C.PROVING, _I.LOST): _C.WAITING,
    (_C.LIVE, _I.LOST): _C.WAITING,
    (_C.WAITING, _I.DUE): _C.CONNECTING,
    # The fallback policy ended the attempts: HTTP carries the session, WebSocket is probed meanwhile.
    (_C.CONNECTING, _I.EXHAUSTED): _C.POLLING,
    (_C.GREETING, _I.EXHAUSTED): _C.POLLING,
    (_C.PROVING, _I.EXHAUSTED): _C.POLLING,
    (_C.LIVE, _I.EXHAUSTED): _C.POLLING,
    (_C.WAITING, _I.EXHAUSTED): _C.POLLING,
    (_C.POLLING, _I.DUE): _C.PROBE_CONNECTING,
    (_C.PROBE_CONNECTING, _I.OPENED): _C.PROBE_GREETING,
    (_C.PROBE_GREETING, _I.WELCOMED): _C.PROBE_PROVING,
    (_C.PROBE_PROVING, _I.PROVEN): _C.LIVE,
    (_C.PROBE_CONNECTING, _I.LOST): _C.POLLING,
    (_C.PROBE_GREETING, _I.LOST): _C.POLLING,
    (_C.PROBE_PROVING, _I.LOST): _C.POLLING,
    # The server no longer accepts the token, on either transport.
    **{(state, _I.TOKEN_WANTED): _C.REFRESHING for state in _C if state not in (_C.NEW, _C.WAITING, _C.REFRESHING, _C.CLOSED)},
    # The new token may be refused too, so the attempt waits like any other.
    (_C.REFRESHING, _I.TOKEN_GIVEN): _C.WAITING,
    (_C.REFRESHING, _I.EXHAUSTED): _C.POLLING,
    # The end can come at any time, once.
    **{(state, _I.END): _C.CLOSED for state in _C if state is not _C.CLOSED},
}

_AT_ANY_TIME = (frames.Goaway, frames.Error)
_FLOWING = (
    frames.SnapshotFrame,
    frames.Events,
    frames.Presence,
    frames.Cursors,
    frames.Accepted,
    frames.Rejected,
    frames.Heartbeat,
    frames.Pong,
    frames.Expiring,
    *_AT_ANY_TIME,
)
_GREETED = (frames.Welcome, *_AT_ANY_TIME)

CLIENT_MAY_RECEIVE: dict[ClientState, frozenset[type[frames.Frame]]] = {
    # Frames on the WebSocket. Answers to HTTP requests belong to the polling transport and may come in every polling state.
    _C.NEW: frozenset(),
    _C.CONNECTING: frozenset(),
    _C.GREETING: frozenset(_GREETED),
    _C.PROVING: frozenset(_FLOWING),
    _C.LIVE: frozenset(_FLOWING),
    _C.WAITING: frozenset(),
    _C.POLLING: frozenset(),
    _C.PROBE_CONNECTING: frozenset(),
    _C.PROBE_GREETING: frozenset(_GREETED),
    _C.PROBE_PROVING: frozenset(_FLOWING),
    _C.REFRESHING: frozenset(),
    _C.CLOSED: frozenset(),
}


class ConnectionState(enum.Enum):
    """The state of one connection on the server. HTTP requests are connections with one frame and one answer."""

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python function, and these are keys on every path

    AWAITING_HELLO = "awaiting_hello"
    AUTHENTICATING = "authenticating"
    LIVE = "live"
    AWAITING_REQUEST = "awaiting_request"
    ANSWERING = "answering"
    CLOSED = "closed"


SERVER_MAY_RECEIVE: dict[ConnectionState, frozenset[type[frames.Frame]]] = {
    ConnectionState.AWAITING_HELLO: frozenset({frames.Hello}),
    # A client may send nothing but bye before it is welcomed (8.34).
    ConnectionState.AUTHENTICATING: frozenset({frames.Bye}),
    ConnectionState.LIVE: frozenset({frames.Publish, frames.Cursor, frames.Ack, frames.Ping, frames.Auth, frames.Bye}),
    ConnectionState.AWAITING_REQUEST: frozenset({frames.PollRequest, frames.PublishRequest}),
    ConnectionState.ANSWERING: frozenset(),
    ConnectionState.CLOSED: frozenset(),
}


class Transport(enum.StrEnum):
    """The kind of a client's connection."""

    WEBSOCKET = "websocket"
    POLLING = "polling"
