"""The tables of `states` are complete, and the machines follow them: every state with every frame, on real machines."""

import typing
from collections.abc import Mapping
from typing import Any

import pytest

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Open, Send, ServerAction
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.errors import CloseCode
from reference.protocol.server.run import Run
from reference.protocol.states import (
    CLIENT_MAY_RECEIVE,
    CLIENT_TRANSITIONS,
    SERVER_MAY_RECEIVE,
    ClientInput,
    ClientState,
    ConnectionState,
    Transport,
)

from .machines import BYSTANDER, EXAMPLES, client_in, closes, sent, server_in

CLIENT_FRAMES = frozenset(typing.get_args(frames.ClientFrame))
SERVER_FRAMES = frozenset(typing.get_args(frames.ServerFrame))
REQUEST_FRAMES = frozenset(typing.get_args(frames.RequestFrame))
ANSWER_FRAMES = frozenset({*typing.get_args(frames.AnswerFrame), frames.RequestFailed})
ALL_FRAMES = sorted(frames.Frame.__subclasses__(), key=lambda kind: kind.__name__)
LISTENS = [state for state in ClientState if "connecting" in state.value or CLIENT_MAY_RECEIVE[state]]
"""The states in which the session has a WebSocket that it listens to."""
AFTER_A_FAILURE = {state: ClientState.POLLING if state.is_polling else ClientState.WAITING for state in LISTENS}
MOVES_ON = {
    (ClientState.GREETING, frames.Welcome): ClientState.PROVING,
    (ClientState.PROBE_GREETING, frames.Welcome): ClientState.PROBE_PROVING,
    (ClientState.PROVING, frames.Pong): ClientState.LIVE,
    (ClientState.PROBE_PROVING, frames.Pong): ClientState.LIVE,
}


def pairs(table: Mapping[Any, frozenset[type[frames.Frame]]], *, allowed: bool) -> list[Any]:
    """The cells of a table of who may say what."""
    return [
        pytest.param(state, kind, id=f"{state.value}-{kind.__name__}")
        for state in table
        for kind in ALL_FRAMES
        if (kind in table[state]) is allowed
    ]


# The tables themselves.


def test_each_frame_type_has_one_speaker_and_an_example() -> None:
    assert set(ALL_FRAMES) == CLIENT_FRAMES | SERVER_FRAMES | REQUEST_FRAMES | ANSWER_FRAMES
    assert len(ALL_FRAMES) == len(CLIENT_FRAMES) + len(SERVER_FRAMES) + len(REQUEST_FRAMES) + len(ANSWER_FRAMES)
    assert set(EXAMPLES) == set(ALL_FRAMES)


def test_the_tables_name_every_state_and_every_frame() -> None:
    assert set(CLIENT_MAY_RECEIVE) == set(ClientState)
    assert set(SERVER_MAY_RECEIVE) == set(ConnectionState)
    assert frozenset().union(*CLIENT_MAY_RECEIVE.values()) == SERVER_FRAMES
    assert frozenset().union(*SERVER_MAY_RECEIVE.values()) == CLIENT_FRAMES | REQUEST_FRAMES


def test_every_client_state_is_reached_from_new_and_every_input_leads_somewhere() -> None:
    reached = [ClientState.NEW]
    for state in reached:  # grows while it is walked
        reached += {after for (before, _), after in CLIENT_TRANSITIONS.items() if before is state and after not in reached}
    assert set(reached) == set(ClientState)
    assert {event for _, event in CLIENT_TRANSITIONS} == set(ClientInput)


def test_every_client_state_can_end_once() -> None:
    assert {state for state, event in CLIENT_TRANSITIONS if event is ClientInput.END} == set(ClientState) - {ClientState.CLOSED}
    assert not [state for state, _ in CLIENT_TRANSITIONS if state is ClientState.CLOSED]


def test_no_state_both_polls_and_is_the_websockets_alone() -> None:
    for state in ClientState:
        assert state.has_websocket == (frames.Events in CLIENT_MAY_RECEIVE[state])


# The client.


@pytest.mark.parametrize("state", ClientState)
def test_a_client_is_brought_into_every_state_by_real_inputs(state: ClientState) -> None:
    assert client_in(state).session.state is state


@pytest.mark.parametrize(("state", "kind"), pairs(CLIENT_MAY_RECEIVE, allowed=True))
def test_a_client_takes_what_the_table_allows(state: ClientState, kind: type[frames.Frame]) -> None:
    client = client_in(state, snapshot_is_due=kind is frames.SnapshotFrame)
    frame = EXAMPLES[kind]
    client.session.receive_frame(client.websocket, frame, client.now)
    actions = client.session.take_actions()
    if kind is frames.Goaway:
        assert (client.websocket, 1000) in closes(actions)
        assert client.session.state is AFTER_A_FAILURE[state]
    else:
        assert (client.websocket, CloseCode.BAD_FRAME) not in closes(actions)
        assert client.websocket not in dict(closes(actions))
        assert client.session.state is MOVES_ON.get((state, kind), state)


@pytest.mark.parametrize(
    ("state", "kind"), [pair for pair in pairs(CLIENT_MAY_RECEIVE, allowed=False) if pair.values[0] in LISTENS]
)
def test_a_client_leaves_a_connection_that_breaks_the_table_and_goes_on(state: ClientState, kind: type[frames.Frame]) -> None:
    client = client_in(state)
    session = client.session
    session.receive_frame(client.websocket, EXAMPLES[kind], client.now)
    actions = session.take_actions()
    assert closes(actions) == [(client.websocket, CloseCode.BAD_FRAME)]
    assert session.state is AFTER_A_FAILURE[state]
    assert not [outcome for outcome in session.take_outcomes() if isinstance(outcome, SessionEnded)]
    ticket = session.publish("CHAT", {"text": "still here"}, client.now)
    assert ticket == 1
    while not any(isinstance(action, Open) and action.transport is Transport.WEBSOCKET for action in actions):
        deadline = session.next_deadline()
        assert deadline is not None, "a session that goes on waits for something"
        client.now = max(client.now, deadline)
        session.handle_timeout(client.now)
        actions = session.take_actions()


@pytest.mark.parametrize("state", ClientState)
def test_a_client_ignores_a_connection_that_it_has_left(state: ClientState) -> None:
    client = client_in(state)
    session = client.session

    def looks() -> tuple[object, ...]:
        return session.state, session.next_deadline(), session.position, session.queued_messages, session.health()

    before = looks()
    left = 1 if state not in LISTENS or client.websocket != 1 else 77
    for kind in ALL_FRAMES:
        session.receive_frame(left, EXAMPLES[kind], client.now)
        assert session.take_actions() == [], kind
        assert session.take_outcomes() == [], kind
        assert looks() == before, kind
    session.connection_opened(left, client.now)
    session.bytes_received(left, client.now)
    session.connection_lost(left, CloseCode.TOKEN, client.now)
    assert session.take_actions() == []
    assert looks() == before


@pytest.mark.parametrize("kind", ALL_FRAMES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("state", [state for state in ClientState if state.is_polling])
def test_the_polling_lane_takes_answers_only_and_a_probe_behind_it_stands(state: ClientState, kind: type[frames.Frame]) -> None:
    client = client_in(state)
    session = client.session
    lane = 2  # opened when WebSocket had failed
    if state is ClientState.POLLING:
        session.handle_timeout(client.now)  # the first poll leaves
        session.take_actions()
    session.receive_frame(lane, EXAMPLES[kind], client.now)
    actions = session.take_actions()
    assert session.state is state
    assert client.websocket not in dict(closes(actions))
    replaced = [action for action in actions if isinstance(action, Open) and action.transport is Transport.POLLING]
    assert bool(replaced) is (kind not in ANSWER_FRAMES)
    assert (lane in dict(closes(actions))) is bool(replaced)


# The server.


def assert_nobody_else_noticed(run: Run, actions: list[ServerAction]) -> None:
    """The other client goes on, and gets nothing that ends its session."""
    assert BYSTANDER not in dict(closes(actions))
    assert not [frame for frame in sent(actions, BYSTANDER) if isinstance(frame, frames.Error | frames.Goaway)]
    run.take_actions()
    run.receive_frame(BYSTANDER, frames.Ping(7), 0)
    assert frames.Pong(7, server_time=0) in sent(run.take_actions(), BYSTANDER)


@pytest.mark.parametrize(("state", "kind"), pairs(SERVER_MAY_RECEIVE, allowed=True))
def test_a_server_takes_what_the_table_allows(state: ConnectionState, kind: type[frames.Frame]) -> None:
    run = server_in(state)
    run.receive_frame(1, EXAMPLES[kind], 0)
    actions = run.take_actions()
    if kind is frames.Bye:
        assert closes(actions) == [(1, 1000)]
        assert run.connections == 1
    elif kind is frames.PollRequest:
        assert [type(frame) for frame in sent(actions, 1)] == [frames.PollAnswer]
    elif kind in (frames.Publish, frames.PublishRequest):
        assert not sent(actions, 1), "nothing is answered before it is durable"
        append = run.events_to_append()
        assert append is not None
        run.handle_appended(append, 0)
        answers = sent(run.take_actions(), 1)
        assert type(answers[0]) is (frames.Accepted if kind is frames.Publish else frames.PublishAnswer)
    else:
        assert closes(actions) == []
        assert run.connections == 2
        asks = Authenticate(1, "token-2" if kind is frames.Auth else None)
        assert (asks in actions) is (kind in (frames.Hello, frames.Auth))
        assert bool([frame for frame in sent(actions, 1) if isinstance(frame, frames.Pong)]) is (kind is frames.Ping)
    assert_nobody_else_noticed(run, actions)


@pytest.mark.parametrize(
    ("state", "kind"),
    [pair for pair in pairs(SERVER_MAY_RECEIVE, allowed=False) if pair.values[0] is not ConnectionState.CLOSED],
)
def test_a_server_closes_a_connection_that_breaks_the_table_and_no_other(
    state: ConnectionState, kind: type[frames.Frame]
) -> None:
    run = server_in(state)
    assert run.connections == 2
    run.receive_frame(1, EXAMPLES[kind], 0)
    actions = run.take_actions()
    assert closes(actions) == [(1, CloseCode.BAD_FRAME)]
    assert run.connections == 1
    is_http = state in (ConnectionState.AWAITING_REQUEST, ConnectionState.ANSWERING)
    assert [type(frame) for frame in sent(actions, 1)] == ([] if is_http else [frames.Error])
    assert run.events_to_append() is None
    assert_nobody_else_noticed(run, actions)


@pytest.mark.parametrize("kind", ALL_FRAMES, ids=lambda kind: kind.__name__)
def test_a_server_ignores_a_connection_that_is_closed(kind: type[frames.Frame]) -> None:
    run = server_in(ConnectionState.CLOSED)
    deadline = run.next_deadline()
    run.receive_frame(1, EXAMPLES[kind], 0)
    run.connection_lost(1, 0)
    assert not [action for action in run.take_actions() if not isinstance(action, Send)]
    assert run.events_to_append() is None
    assert run.connections == 1
    assert run.next_deadline() == deadline
