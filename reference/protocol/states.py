"""States and transitions of both sides, as tables.

The client's session outlives its connections. One state says what is going on with both transports at once, because they are
not independent: WebSocket is probed only while polling carries the session, and polling ends only when the probe has proved
useful.

    NEW            nothing has been tried
    CONNECTING     a WebSocket is being opened; nothing carries the session
    GREETING       it is open, hello is sent
    PROVING        welcomed: events and publishes flow, but no ping has been answered yet
    LIVE           a ping was answered: the connection is useful
    WAITING        between attempts
    POLLING        HTTP polling is open; the next probe has a time. It carries the session from its first answer on
    PROBE_CONNECTING, PROBE_GREETING, PROBE_PROVING
                   as above, but behind polling, which goes on until the probe is LIVE
    REFRESHING     the server wants another token and the application is getting one
    CLOSED         the end

Who may say what depends on it: `CLIENT_MAY_RECEIVE` and `SERVER_MAY_RECEIVE` list every frame for every state. A pair that is
missing is the other side's mistake: the connection is closed with BAD_FRAME. An input that is missing in a transition table is
our own mistake: it raises.

Ties: frames of a connection that the session has left are ignored, whatever they say. A timer that falls due with an input fires
with it, after it: what is to happen at once does not wait for the driver's alarm, and happens alike in every world.
"""

import enum

from reference.protocol import frames


class ClientState(enum.Enum):
    """What goes on with both transports of a client session: see the module."""

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

    # Looked at with every frame, so they are attributes of the members, set below.
    is_polling: bool
    """HTTP polling is open. Whether it carries the session is another question: `ClientSession.is_carried`."""
    has_websocket: bool
    """A WebSocket is welcomed: publishes go there."""

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
    # WebSocket alone.
    (_C.CONNECTING, _I.OPENED): _C.GREETING,
    (_C.GREETING, _I.WELCOMED): _C.PROVING,
    (_C.PROVING, _I.PROVEN): _C.LIVE,
    (_C.CONNECTING, _I.LOST): _C.WAITING,
    (_C.GREETING, _I.LOST): _C.WAITING,
    (_C.PROVING, _I.LOST): _C.WAITING,
    (_C.LIVE, _I.LOST): _C.WAITING,
    (_C.WAITING, _I.DUE): _C.CONNECTING,
    # The fallback policy has had enough: HTTP carries the session, WebSocket is probed behind it.
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
    # A token that the server no longer takes, on either transport.
    **{(state, _I.TOKEN_WANTED): _C.REFRESHING for state in _C if state not in (_C.NEW, _C.WAITING, _C.REFRESHING, _C.CLOSED)},
    # The new token may be as bad as the old one, so it waits like any attempt.
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
    # Frames on the WebSocket. Answers to HTTP requests belong to the polling lane and may come in every polling state.
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
    """One connection, as the server sees it. HTTP requests are connections that say one thing and get one answer."""

    __hash__ = object.__hash__  # members are unique; Enum's own hash is a Python function, and these are keys on every path

    AWAITING_HELLO = "awaiting_hello"
    AUTHENTICATING = "authenticating"
    LIVE = "live"
    AWAITING_REQUEST = "awaiting_request"
    ANSWERING = "answering"
    CLOSED = "closed"


SERVER_MAY_RECEIVE: dict[ConnectionState, frozenset[type[frames.Frame]]] = {
    ConnectionState.AWAITING_HELLO: frozenset({frames.Hello}),
    # A client may not speak before it is welcomed, except to leave (8.34).
    ConnectionState.AUTHENTICATING: frozenset({frames.Bye}),
    ConnectionState.LIVE: frozenset({frames.Publish, frames.Cursor, frames.Ack, frames.Ping, frames.Auth, frames.Bye}),
    ConnectionState.AWAITING_REQUEST: frozenset({frames.PollRequest, frames.PublishRequest}),
    ConnectionState.ANSWERING: frozenset(),
    ConnectionState.CLOSED: frozenset(),
}


class Transport(enum.StrEnum):
    """What a connection of a client is."""

    WEBSOCKET = "websocket"
    POLLING = "polling"
