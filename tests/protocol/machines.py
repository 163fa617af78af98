"""Real machines in every reachable state, brought there by real inputs only.

`client_in(state)` walks a `ClientSession`, `server_in(state)` one connection of a `Run` beside another one that is live and must
not notice anything. Both drain their machine on the way, so a test finds in the output queues only the results of its own input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open, Send, ServerAction
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.events import Event
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.records import RunState, Snapshot, StoredRun
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.states import ClientState, ConnectionState, Transport
from reference.protocol.timers import NS_PER_S

EPOCH = "epoch-1"
BYSTANDER = 99
"""The connection that is live beside the one under test."""


class Always:
    """Chance that always says the same, and remembers what it was asked for."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.asked: list[tuple[str, int]] = []

    def uniform(self, purpose: str, index: int) -> float:
        self.asked.append((purpose, index))
        return self.value


def stored_run(**fields: Any) -> StoredRun:
    """A run without events, but for the given fields."""
    empty: dict[str, Any] = {
        "run_id": "run-1",
        "epoch": EPOCH,
        "head": 0,
        "snapshot": Snapshot(0, RunState()),
        "events": (),
        "clients": (),
    }
    return StoredRun(**(empty | fields))


def chat(number: int | None, text: str = "hi") -> Event:
    return Event("CHAT", "ann", 0, number, {"text": text}, False)


EXAMPLES: dict[type[frames.Frame], frames.Frame] = {
    type(frame): frame
    for frame in (
        frames.Hello(protocol=1, client_id="client-1"),
        frames.Publish(client_sequence=1, event_type="CHAT", data={"text": "hi"}),
        frames.Cursor({"x": 1}),
        frames.Ack(0),
        frames.Ping(0),
        frames.Auth("token-2"),
        frames.Bye(),
        frames.Welcome(
            session_id="session-1",
            epoch=EPOCH,
            outcome="fresh",
            oldest=1,
            head=0,
            after_sequence=0,
            last_client_sequence=0,
            heartbeat_ms=15_000,
            limits=frames.Limits(64 * 1024, 64, 200.0),
            retry=frames.Retry(1000),
            active_users=("ann",),
            cursor_positions={},
            server_time=0,
        ),
        frames.SnapshotFrame(0, RunState()),
        frames.Events((chat(1),)),
        frames.Presence(joined=("bob",), server_time=0),
        frames.Cursors(moved={"bob": {"x": 2}}, server_time=0),
        frames.Accepted(client_sequence=1, sequence_number=1),
        frames.Rejected(client_sequence=1, code="invalid_event", message="no"),
        frames.Heartbeat(0),
        frames.Pong(0, server_time=0),
        frames.Expiring(1000),
        frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=1000, spread_ms=1000),
        frames.Error(code=CloseCode.TOO_SLOW, message="too slow"),
        frames.PollRequest(client_id="client-1"),
        frames.PollAnswer(
            run_id="run-1",
            epoch=EPOCH,
            outcome="fresh",
            oldest=1,
            head=0,
            after_sequence=0,
            last_client_sequence=0,
            events=(),
            active_users=("ann",),
            cursor_positions={},
            server_time=0,
        ),
        frames.PublishRequest(client_id="client-1", messages=(frames.Message(client_sequence=1, event_type="CHAT", data={}),)),
        frames.PublishAnswer(()),
        frames.RequestFailed(request="poll"),
    )
}
"""One frame of each type, which fits into the conversation that the walks below have had."""


@dataclass
class Client:
    """A session, the time, and the WebSocket that it listens to, or would have if it had not left it."""

    session: ClientSession
    now: int
    websocket: int


def client_in(
    state: ClientState, *, snapshot_is_due: bool = False, outcomes_waiting_max: int | None = None, **settings: Any
) -> Client:
    """A client session in `state`. `snapshot_is_due`: a welcome has announced a snapshot that has not come."""
    falls_back = state.is_polling
    config = ClientConfig(**({"fallback_after_failures": 1 if falls_back else 5, "refreshes_token": True} | settings))
    session = ClientSession(
        "client-1",
        config=config,
        policy=FullJitter(),
        random_source=Always(0.5),
        token="token-1",
        outcomes_waiting_max=outcomes_waiting_max,
    )
    client = Client(session, 0, 1)
    if state is not ClientState.NEW:
        session.start(0)
        _walk(client, state, snapshot_is_due)
    session.take_actions()
    session.take_outcomes()
    assert session.state is state
    return client


def _walk(client: Client, state: ClientState, snapshot_is_due: bool) -> None:
    session = client.session
    match state:
        case ClientState.NEW | ClientState.CONNECTING:
            pass
        case ClientState.WAITING:
            session.connection_lost(1, None, client.now)
        case ClientState.REFRESHING:
            session.connection_lost(1, CloseCode.TOKEN, client.now)
        case ClientState.CLOSED:
            session.close(client.now)
        case ClientState.GREETING | ClientState.PROVING | ClientState.LIVE:
            _greet(client, state, snapshot_is_due)
        case ClientState.POLLING:
            session.connection_lost(1, None, client.now)
            assert session.state is ClientState.POLLING
        case ClientState.PROBE_CONNECTING | ClientState.PROBE_GREETING | ClientState.PROBE_PROVING:
            session.connection_lost(1, None, client.now)
            _poll_until_probe(client)
            _greet(client, state, snapshot_is_due)
        case _:
            assert_never(state)


def _greet(client: Client, state: ClientState, snapshot_is_due: bool) -> None:
    session, websocket, now = client.session, client.websocket, client.now
    if state is ClientState.PROBE_CONNECTING:
        return
    session.connection_opened(websocket, now)
    if state in (ClientState.GREETING, ClientState.PROBE_GREETING):
        return
    session.take_actions()
    session.receive_frame(websocket, EXAMPLES[frames.Welcome], now)
    if not snapshot_is_due:
        session.receive_frame(websocket, EXAMPLES[frames.SnapshotFrame], now)
    if state is ClientState.LIVE:
        (nonce,) = (frame.nonce for frame in sent(session.take_actions(), websocket) if isinstance(frame, frames.Ping))
        session.receive_frame(websocket, frames.Pong(nonce, server_time=0), now)


def _poll_until_probe(client: Client) -> None:
    """Answer polls until the session opens its probe."""
    session = client.session
    for _ in range(100):
        for action in session.take_actions():
            if isinstance(action, Send):
                session.receive_frame(action.connection_ids[0], EXAMPLES[frames.PollAnswer], client.now)
            elif isinstance(action, Open) and action.transport is Transport.WEBSOCKET:
                client.websocket = action.connection_id
        if session.state is not ClientState.POLLING:
            return
        deadline = session.next_deadline()
        assert deadline is not None, "a session that polls waits for something"
        client.now = max(client.now, deadline)
        session.handle_timeout(client.now)
    raise AssertionError("the probe did not come")


def closes(actions: Sequence[ClientAction | ServerAction]) -> list[tuple[int, int | None]]:
    """Which connections are closed, with which code."""
    return [(number, action.code) for action in actions if isinstance(action, Close) for number in action.connection_ids]


def sent(actions: Sequence[ClientAction | ServerAction], connection_id: int) -> list[frames.Frame]:
    """The frames sent on one connection, in order."""
    return [action.frame for action in actions if isinstance(action, Send) and connection_id in action.connection_ids]


def server_in(state: ConnectionState, config: ServerConfig | None = None) -> Run:
    """A run with connection 1 in `state`, and with the live `BYSTANDER`."""
    run = Run(stored_run(), config=config or ServerConfig(), now=0)
    go_live(run, BYSTANDER, "client-99", "bob")
    match state:
        case ConnectionState.AWAITING_HELLO:
            run.connection_opened(1, Transport.WEBSOCKET, None, "session-1", 0)
        case ConnectionState.AUTHENTICATING:
            run.connection_opened(1, Transport.WEBSOCKET, None, "session-1", 0)
            run.receive_frame(1, EXAMPLES[frames.Hello], 0)
        case ConnectionState.LIVE:
            go_live(run, 1, "client-1", "ann")
        case ConnectionState.AWAITING_REQUEST:
            run.connection_opened(1, Transport.POLLING, Identity("ann"), "session-1", 0)
        case ConnectionState.ANSWERING:
            run.connection_opened(1, Transport.POLLING, Identity("ann"), "session-1", 0)
            run.receive_frame(1, frames.PollRequest(epoch=EPOCH, after_sequence=0, wait_ms=25_000), 0)
        case ConnectionState.CLOSED:
            go_live(run, 1, "client-1", "ann")
            run.receive_frame(1, frames.Bye(), 0)
        case _:
            assert_never(state)
    run.take_actions()
    run.take_observations()
    return run


def go_live(run: Run, connection_id: int, client_id: str, user_id: str, now: int = 0) -> None:
    """Bring one WebSocket into the run, up to where it is given each event as it comes."""
    run.connection_opened(connection_id, Transport.WEBSOCKET, None, f"session-{connection_id}", now)
    run.receive_frame(connection_id, frames.Hello(protocol=1, client_id=client_id), now)
    run.handle_authenticated(connection_id, Identity(user_id), now)
    while run.is_lagging(connection_id):
        run.next_batch(connection_id, now)


def seconds(value: float) -> int:
    """In ns."""
    return round(value * NS_PER_S)


def ended(client: Client) -> SessionEnded | None:
    """What a session has said of its end."""
    return next((outcome for outcome in client.session.take_outcomes() if isinstance(outcome, SessionEnded)), None)


def opened(session: ClientSession) -> list[Open]:
    """The connections that it asks for."""
    return [action for action in session.take_actions() if isinstance(action, Open)]


def welcome(**fields: object) -> frames.Welcome:
    """A welcome, but for the given fields."""
    return msgspec.structs.replace(EXAMPLES[frames.Welcome], **fields)  # type: ignore[return-value]


def poll_answer(**fields: object) -> frames.PollAnswer:
    """The answer to a poll, but for the given fields."""
    return msgspec.structs.replace(EXAMPLES[frames.PollAnswer], **fields)  # type: ignore[return-value]


def come_back(client: Client, **fields: object) -> None:
    """The next attempt is made and welcomed."""
    session = client.session
    while session.state is ClientState.WAITING:
        client.now = session.next_deadline() or 0
        session.handle_timeout(client.now)
    client.websocket = opened(session)[-1].connection_id
    session.connection_opened(client.websocket, client.now)
    session.receive_frame(client.websocket, welcome(**({"outcome": "resumed"} | fields)), client.now)
