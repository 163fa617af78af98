"""Checks at the end: of a session that is over, and of a world that has settled (parts of G4, G6 and G12).

A settled world has had no fault for longer than any recovery may take, so everything that is still wrong stays wrong.
"""

from reference.protocol.events import Data
from reference.protocol.states import ClientState
from simulation.checks.verdicts import Findings
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import CursorSeen, PresenceSeen


def outcomes(trace_index: TraceIndex) -> Findings:
    """G4: an application gets an outcome for each publish before its session is over, and in the end for every one. For a client
    behind a box it only shows that a publish is in the log."""
    is_in_box = trace_index.started.world == "client_under_test"
    stored = {entry.publish_id for found in trace_index.entries.values() for entry in found} if is_in_box else set()
    for client in trace_index.clients.values():
        if not client.is_over and trace_index.rest is None:
            continue
        for ticket, publish in client.published.items():
            is_settled = ticket in client.accepted or ticket in client.failed or (is_in_box and publish.publish_id in stored)
            yield None if is_settled else f"{client.name} never got an outcome for publish {ticket}"


def everyone_is_back(trace_index: TraceIndex) -> Findings:
    """G6: in the end every client has a WebSocket, if that is possible, and is at the head."""
    if trace_index.rest is None or trace_index.log is None:
        return
    head = (trace_index.log.epoch, trace_index.log.head)
    for client in _current(trace_index):
        if not (client.state is ClientState.LIVE or (trace_index.rest.is_blocked and client.state.is_polling)):
            yield f"{client.name} has not come back to a WebSocket: it is {client.state.value}"
        was_given_nothing = client.epoch is None and (head[1] == 0 or trace_index.started.world == "real")
        is_there = was_given_nothing or (client.epoch, client.position) == head
        yield None if is_there else f"{client.name} rests at {(client.epoch, client.position)}; the head is {head}"


def rosters(trace_index: TraceIndex) -> Findings:
    """G12: in the end every client sees the users present and the server's cursors, and its application was notified of them."""
    if trace_index.rest is None or not trace_index.rosters:
        return
    present = tuple(sorted({client.user_id for client in _current(trace_index)}))
    sampled = {sample.place: sample for sample in trace_index.rosters}
    server = sampled.get("server")
    if server is not None:
        is_right = server.users == present
        yield None if is_right else f"the server sees {server.users} long after; present are {present}"
    for client in _current(trace_index):
        sample = sampled.get(client.name)
        if sample is not None:
            is_right = sample.users == present
            yield None if is_right else f"{client.name} sees {sample.users}; present are {present}"
            if server is not None:
                is_right = sample.cursors == server.cursors
                yield None if is_right else f"{client.name} sees other cursors than the server does"
        users, cursors = _heard_by(client)
        yield None if users == present else f"the application of {client.name} sees {users}; present are {present}"
        if server is not None:
            yield None if cursors == server.cursors else f"the application of {client.name} sees other cursors than the server"


def _current(trace_index: TraceIndex) -> list[ClientIndex]:
    """The clients that have not left."""
    return [client for client in trace_index.clients.values() if not client.is_over and client.left_at is None]


def _heard_by(client: ClientIndex) -> tuple[tuple[str, ...], dict[str, Data]]:
    """The users present and their cursors, from the events delivered to the application."""
    users: set[str] = set()
    cursors: dict[str, Data] = {}
    for record in client.records:
        if isinstance(record, CursorSeen):
            cursors[record.user_id] = record.data
        elif isinstance(record, PresenceSeen) and record.is_present:
            users.add(record.user_id)
        elif isinstance(record, PresenceSeen):
            users.discard(record.user_id)
            cursors.pop(record.user_id, None)
    return tuple(sorted(users)), cursors
