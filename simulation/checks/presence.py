"""Presence and cursors during faults (G12): what each reader is sent, by when, and the events of its application.

The truth is computed from the frames, not from the server's own tables: a user is present while a session of the user is
(8.29), and the cursor is the last one that the server accepted in that time (8.30). A server that crashes forgets both. Changes
that are due at a time are judged when the server has handled its alarm.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reference.protocol.events import Data
from reference.protocol.states import ClientState
from reference.protocol.timers import ns
from simulation.checks.verdicts import SLACK_NS, Findings, when
from simulation.checks.watched import instants
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import (
    ConnectionLeft,
    ConnectionRefused,
    CursorSeen,
    CursorTaken,
    PollingBegun,
    PositionHeld,
    PresenceSeen,
    ReaderBlocked,
    RosterGiven,
    RosterHeard,
    ServerAlarmServed,
    ServerKilled,
    ServerStarted,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    StateTurned,
)


@dataclass(slots=True)
class _Roster:
    """The users and cursors that a reader knows from its frames (4.9, 4.12, 4.13)."""

    users: set[str] = field(default_factory=set)
    cursors: dict[str, Data] = field(default_factory=dict)

    def take(self, frame: RosterGiven | RosterHeard) -> None:
        gone = (self.users | self.cursors.keys()).difference(frame.users) if frame.users is not None else frame.left
        for user in gone:
            self.turn(user, is_present=False)
        self.users.update(frame.joined if frame.users is None else frame.users)
        self.cursors = {**(self.cursors if frame.cursors is None else frame.cursors), **frame.moved}

    def turn(self, user: str, *, is_present: bool) -> None:
        """A user joins, or leaves; the cursor ends with the leave."""
        if is_present:
            self.users.add(user)
        else:
            self.users.discard(user)
            self.cursors.pop(user, None)


@dataclass(slots=True)
class _Attendance:
    """The present users and their cursors, in one life of the server, and the times of their last changes."""

    sessions: dict[str, str] = field(default_factory=dict)
    """User of each client that has a session."""
    turned_at: dict[str, int] = field(default_factory=dict)
    """When each user last joined or left."""
    cursors: dict[str, Data] = field(default_factory=dict)
    moved_at: dict[str, int] = field(default_factory=dict)

    def is_present(self, user: str) -> bool:
        return user in self.sessions.values()

    def join(self, client: str, user: str, at: int) -> None:
        if not self.is_present(user):
            self.turned_at[user] = at
        self.sessions[client] = user

    def leave(self, client: str, at: int) -> None:
        user = self.sessions.pop(client, None)
        if user is not None and not self.is_present(user):
            self.turned_at[user] = at
            self.cursors.pop(user, None)

    def move_cursor(self, user: str, data: Data, at: int) -> None:
        if self.is_present(user):
            self.cursors[user] = data
            self.moved_at[user] = at

    def unsent(self, roster: _Roster, turned_before: int, moved_before: int) -> str | None:
        """A change before those times of which the reader does not know."""
        return (
            self._misnamed(roster, turned_before)
            or self._misplaced(roster, moved_before)
            or self._outlasting(roster, turned_before)
        )

    def _misnamed(self, roster: _Roster, turned_before: int) -> str | None:
        """A user who joined or left before that time, which the reader does not know."""
        for user in sorted({*roster.users, *self.sessions.values()}):
            is_due = self.turned_at.get(user, 0) < turned_before
            if is_due and self.is_present(user) != (user in roster.users):
                return f"{user}, who is {'present' if self.is_present(user) else 'gone'}"
        return None

    def _misplaced(self, roster: _Roster, moved_before: int) -> str | None:
        """A cursor that moved before that time, of which the reader has an older value."""
        for user, data in self.cursors.items():
            if self.moved_at[user] < moved_before and roster.cursors.get(user) != data:
                return f"the cursor of {user} at {data}"
        return None

    def _outlasting(self, roster: _Roster, turned_before: int) -> str | None:
        """A cursor that ended with a leave before that time, which the reader still has."""
        for user in roster.cursors:
            if user not in self.cursors and self.turned_at.get(user, 0) < turned_before:
                return f"the end of the cursor of {user}"
        return None


def rosters_given(trace_index: TraceIndex) -> Findings:
    """8.19, 8.29, 8.30: each current reader gets a change of presence, and with it the end of a cursor, within
    `presence_interval_s`, and a cursor within `cursor_interval_s`; an answer to a poll is always up to date."""
    server = trace_index.started.server
    if server is None or len(trace_index.clients) > server.presence_users_max:
        return
    user_of = {client.client_id: client.user_id for client in trace_index.clients.values()}
    turn, move = ns(server.presence_interval_s) + SLACK_NS, ns(server.cursor_interval_s) + SLACK_NS
    truth = _Attendance()
    readers: dict[int, tuple[str, _Roster]] = {}
    blocked: set[int] = set()
    polled: list[RosterGiven] = []
    for record in trace_index.served:
        if polled and record.at > polled[0].at:
            yield from _judge_polls(polled, truth)
            polled = []
        match record:
            case ServerStarted() | ServerKilled():
                truth, readers, blocked, polled = _Attendance(), {}, set(), []
            case SessionJoined(at=at, client_id=client) | PollingBegun(at=at, client_id=client):
                truth.join(client, user_of.get(client, client), at)
            case SessionDeparted(at=at, client_id=client):
                truth.leave(client, at)
            case CursorTaken(at=at, client_id=client, data=data):
                truth.move_cursor(user_of.get(client, client), data, at)
            case RosterGiven(over_http=True):
                polled.append(record)
            case RosterGiven(client_id=client, connection_id=connection):
                readers.setdefault(connection, (client, _Roster()))[1].take(record)
            case ReaderBlocked(connection_id=connection, is_blocked=is_blocked):
                blocked = blocked | {connection} if is_blocked else blocked - {connection}
            case ConnectionRefused(connection_id=connection) | SessionLeft(connection_id=connection):
                readers.pop(connection, None)
            case ServerAlarmServed(at=at):
                for client, roster in [readers[connection] for connection in readers if connection not in blocked]:
                    wrong = truth.unsent(roster, at - turn, at - move)
                    yield None if wrong is None else f"{when(at)} a connection of {client} was not sent {wrong}"
            case _:
                pass


def _judge_polls(answers: Iterable[RosterGiven], truth: _Attendance) -> Findings:
    """After their instant, because the session that a poll creates is recorded after the answer."""
    for answer in answers:
        roster = _Roster()
        roster.take(answer)
        wrong = truth.unsent(roster, answer.at, answer.at)
        yield None if wrong is None else f"{when(answer.at)} a poll of {answer.client_id} was not sent {wrong}"


def rosters_reported(trace_index: TraceIndex) -> Findings:
    """7.35: an application gets at once the presence and cursors from its WebSocket, and those from its polls while no
    WebSocket is welcomed. Where a connection was left with the frame, it is unknown whether the frame counted."""
    if trace_index.started.world == "adversary":
        for client in trace_index.clients.values():
            yield from _given_by(client)


def _given_by(client: ClientIndex) -> Findings:
    heard: _Roster | None = _Roster()  # None: not known
    given = _Roster()
    state = ClientState.NEW
    epoch: str | None = None
    connections: set[int] = set()  # with a frame in this instant
    answers_for: set[str | None] = set()  # histories of the polls in it
    has_changed = False
    for record, is_last in instants(client.records):
        match record:
            case RosterHeard(epoch=str()) if state.has_websocket:
                pass
            case RosterHeard(connection_id=connection):
                if record.users is not None and record.cursors is not None:
                    heard = heard or _Roster()
                if heard is not None:
                    heard.take(record)
                connections.add(connection)
                answers_for |= set() if record.epoch is None else {record.epoch}
                has_changed = True
            case ConnectionLeft(connection_id=connection) if connection in connections:
                heard = None
            case PositionHeld():
                epoch = record.epoch
            case PresenceSeen(user_id=user):
                given.turn(user, is_present=record.is_present)
                has_changed = True
            case CursorSeen(user_id=user, data=data):
                given.cursors[user] = data
                has_changed = True
            case StateTurned():
                state = record.state
            case _:
                pass
        if is_last and has_changed:
            if answers_for - {epoch}:
                heard = None  # 7.17: an answer about a history that was left
            if heard is not None:
                is_same = given.users == heard.users and given.cursors == heard.cursors
                what = f"the application of {client.name} sees {sorted(given.users)} and {given.cursors}"
                yield None if is_same else f"{when(record.at)} {what}; it was sent {sorted(heard.users)} and {heard.cursors}"
            connections, answers_for, has_changed = set(), set(), False
