"""Checks that need a trace of every frame at both ends: parts of G1 to G4, G6, G7 and G9 to G11.

The adversarial world and the testing machines write such traces. For other traces these checks find nothing to check; the other
modules check the guarantees with the records that they have.
"""

from collections.abc import Iterator

from reference.protocol.errors import CloseCode
from reference.protocol.policies.fallback import AfterEither, AfterFailures, AfterSeconds
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.checks.verdicts import Findings, when
from simulation.trace.index import ClientIndex, Progress, TraceIndex
from simulation.trace.trace import (
    AckSent,
    AlarmServed,
    AnswerGiven,
    AttemptMade,
    BeginningGiven,
    ClientRecord,
    ConnectionLeft,
    ConnectionLost,
    ConnectionRefused,
    EventsCommitted,
    EventShown,
    FrameGiven,
    PositionHeld,
    PublishSent,
    PublishTaken,
    ReaderBlocked,
    RetryAsked,
    ServerAlarmServed,
    ServerKilled,
    ServerStarted,
    SessionOver,
    StateTurned,
    TrespassAnswered,
    WaitAsked,
)

ANSWERS_KEPT = 64
"""For each client the server keeps the answers to this many of its newest publishes (8.3)."""
FROM_ANYONE = ("Error", "Goaway", "Welcome")
"""Frames that a connection may get that does not own its session (yet)."""
HONEST_WORLDS = ("adversary", "server_under_test")
"""Worlds in which neither side has a reason to close for good."""
UNCARRIED = (ClientState.WAITING, ClientState.CONNECTING, ClientState.GREETING)
VIOLATION_CODES_FROM = 4100
REFUSAL_CODES_FROM = 4400


def stream_order(trace_index: TraceIndex) -> Findings:
    """G1: each connection gets events without a gap, from its welcome on."""
    given: dict[int, int] = {}
    for record in trace_index.served:
        if isinstance(record, FrameGiven) and record.frame in ("Welcome", "PollAnswer"):
            given[record.connection_id] = record.last
        elif isinstance(record, FrameGiven) and record.first:
            before = given.get(record.connection_id, record.first - 1)
            given[record.connection_id] = record.last
            is_next = record.first == before + 1
            what = f"a connection of {record.client_id} is given events from {record.first} on after {before}"
            yield None if is_next else f"{when(record.at)} {what}"


def positions(trace_index: TraceIndex) -> Findings:
    """G2: the position that a session reports is that of its application, and no acknowledgement is beyond it."""
    for client in trace_index.clients.values():
        place: tuple[str | None, int] = (None, 0)
        has_begun = False
        acks: list[AckSent] = []
        for record in client.records:
            if acks and record.at > acks[0].at:
                yield from _judge_acks(client, acks, place)
            if isinstance(record, Progress):
                place, has_begun = (record.epoch, record.sequence_number), True
            elif isinstance(record, BeginningGiven) and not has_begun:
                place = (record.epoch, record.sequence_number)
            elif isinstance(record, AckSent):
                acks.append(record)
            elif isinstance(record, PositionHeld):
                held = (record.epoch, record.sequence_number)
                what = f"{client.name} stands at {held}; its application was brought to {place}"
                yield None if held == place else f"{when(record.at)} {what}"
        yield from _judge_acks(client, acks, place)


def _judge_acks(client: ClientIndex, acks: list[AckSent], place: tuple[str | None, int]) -> Findings:
    for ack in acks:
        is_known = ack.epoch == place[0] and ack.sequence_number <= place[1]
        what = f"{client.name} acknowledges {ack.sequence_number} of {ack.epoch}; its position is {place}"
        yield None if is_known else f"{when(ack.at)} {what}"
    acks.clear()


def answered_for_another(trace_index: TraceIndex) -> Findings:
    """G3: an accepted publish is the one under its number in the log; a publish that failed as never arrived is in no log."""
    for answer in trace_index.answers:
        if answer is None or answer.epoch is None or answer.sequence_number is None:
            continue
        entry = trace_index.entry(answer.epoch, answer.sequence_number)
        if entry is None or entry.client_id is None:
            continue
        is_it = (entry.client_id, entry.client_sequence) == (answer.client_id, answer.client_sequence)
        what = f"{answer.client_id}'s publish {answer.client_sequence} was accepted as {answer.sequence_number}"
        yield None if is_it else f"{when(answer.at)} {what}, which is another one"
    stored = {entry.publish_id for found in trace_index.entries.values() for entry in found}
    for client in trace_index.clients.values():
        for ticket, failures in client.failed.items():
            publish = client.published.get(ticket)
            for failed in failures:
                if publish is not None and publish.publish_id is not None and not failed.may_have_arrived:
                    what = f"{publish.publish_id} failed ({failed.code}) as never arrived, and stands in a log"
                    yield f"{when(failed.at)} {what}" if publish.publish_id in stored else None


def forgotten(trace_index: TraceIndex) -> Findings:
    """G4: the server does not report the answers to the newest publishes in the log as forgotten."""
    numbers: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for (epoch, _), found in sorted(trace_index.entries.items()):
        for entry in found:
            if entry.client_id is not None and entry.client_sequence is not None:
                numbers.setdefault((epoch, entry.client_id), []).append((entry.at, entry.client_sequence))
    for answer in trace_index.answers:
        if answer is None or answer.code != "answer_expired" or answer.epoch is None:
            continue
        kept = [number for at, number in numbers.get((answer.epoch, answer.client_id), []) if at <= answer.at][-ANSWERS_KEPT:]
        what = f"{answer.client_id}'s publish {answer.client_sequence} is in the log, and its answer was forgotten"
        yield f"{when(answer.at)} {what}" if answer.client_sequence in kept else None


def durable_first(trace_index: TraceIndex) -> Findings:
    """G11: nothing is sent to a reader, or accepted, before it is durable; a server that stops has stored what it numbered."""
    durable: dict[str, int] = {}
    for record in trace_index.served:
        match record:
            case ServerStarted(epoch=epoch, head=head) if trace_index.started.world == "adversary":
                durable.setdefault(epoch, head)  # elsewhere it is not recorded when a batch becomes durable
            case EventsCommitted(epoch=epoch, head=head):
                durable[epoch] = max(durable.get(epoch, 0), head)
            case FrameGiven(at=at, epoch=epoch, first=first, last=last) if first and epoch in durable:
                yield None if last <= durable[epoch] else f"{when(at)} event {last} was sent before it was durable"
            case AnswerGiven(at=at, epoch=str(epoch), sequence_number=int(number)) if epoch in durable:
                what = f"{record.client_id}'s publish {record.client_sequence} was accepted as {number} before that was durable"
                yield None if number <= durable[epoch] else f"{when(at)} {what}"
            case _:
                pass
    for stop in trace_index.unstored:
        yield f"{when(stop.at)} the server stopped with {stop.unstored} numbered events that were not stored"


def same_event(trace_index: TraceIndex) -> Findings:
    """G11: a number of a history is always the same event, for every client."""
    seen: dict[tuple[str, int], str | None] = {}
    for shown in _shown(trace_index):
        first = seen.setdefault((shown.epoch, shown.sequence_number), shown.publish_id)
        what = f"event {shown.sequence_number} was {first}, and now it is {shown.publish_id}"
        yield None if first == shown.publish_id else f"{when(shown.at)} {what}"


def one_number(trace_index: TraceIndex) -> Findings:
    """G3: a publish is always the same event of a history, for every client."""
    numbers: dict[tuple[str, str], int] = {}
    for shown in _shown(trace_index):
        if shown.publish_id is not None:
            first = numbers.setdefault((shown.epoch, shown.publish_id), shown.sequence_number)
            what = f"{shown.publish_id} is event {first}, and event {shown.sequence_number} as well"
            yield None if first == shown.sequence_number else f"{when(shown.at)} {what}"


def _shown(trace_index: TraceIndex) -> list[EventShown]:
    shown = [record for client in trace_index.clients.values() for record in client.records if isinstance(record, EventShown)]
    return sorted(shown, key=lambda record: record.at)


def ownership(trace_index: TraceIndex) -> Findings:
    """G9: only the newest connection of a session gets frames, and only its publishes are taken. If frames are recorded when they
    arrive, and not when the server sends them, this cannot be checked."""
    if trace_index.started.world == "server_under_test":
        return
    owner: dict[str, int] = {}
    for record in trace_index.served:
        match record:
            case ServerStarted() | ServerKilled():
                owner.clear()
            case FrameGiven(client_id=client, connection_id=connection, frame="Welcome"):
                owner[client] = connection
            case FrameGiven(client_id=client, connection_id=connection, frame=frame) if frame not in FROM_ANYONE:
                what = f"{frame} to a connection of {client} that does not own its session"
                yield None if owner.get(client) == connection else f"{when(record.at)} {what}"
            case PublishTaken(client_id=client, connection_id=connection):
                what = f"a connection of {client} published that does not own its session"
                yield None if owner.get(client) == connection else f"{when(record.at)} {what}"
            case _:
                pass


def trespasses(trace_index: TraceIndex) -> Findings:
    """G9: a frame in the name of another user's client is refused, and changes nothing."""
    for record in trace_index.served:
        if isinstance(record, TrespassAnswered):
            is_refused = record.frame == "close" and record.code is not None
            what = f"somebody else spoke in the name of {record.client_id}, and was answered {record.frame}"
            yield None if is_refused or record.frame == "Error" else f"{when(record.at)} {what}"


def patience_with_readers(trace_index: TraceIndex) -> Findings:
    """G7: a reader that takes nothing of its waiting data is closed within `slow_reader_timeout_s`."""
    server = trace_index.started.server
    if server is None:
        return
    limit = ns(server.slow_reader_timeout_s)
    blocked: dict[int, ReaderBlocked] = {}
    for record in trace_index.served:
        match record:
            case ReaderBlocked(connection_id=connection, is_blocked=is_blocked):
                if is_blocked:
                    blocked[connection] = record
                else:
                    blocked.pop(connection, None)
            case ConnectionRefused(connection_id=connection):
                blocked.pop(connection, None)
            case ServerStarted() | ServerKilled():
                blocked.clear()
            case ServerAlarmServed(at=at):
                for each in blocked.values():
                    what = (
                        f"{each.client_id} has taken nothing for more than {server.slow_reader_timeout_s:g} s, and is not closed"
                    )
                    yield None if at - each.at <= limit else f"{when(at)} {what}"
            case _:
                pass


def one_transport(trace_index: TraceIndex) -> Findings:
    """G7: a client has at most one WebSocket, and no polling beside one that is LIVE. Checked at the end of each instant."""
    for client in trace_index.clients.values():
        websockets: set[int] = set()
        polling: set[int] = set()
        state = client.state.NEW
        for record, is_last in instants(client.records):
            match record:
                case AttemptMade(connection_id=connection, transport=transport):
                    (websockets if transport is Transport.WEBSOCKET else polling).add(connection)
                case ConnectionLeft(connection_id=connection) | ConnectionLost(connection_id=connection, request=None):
                    websockets.discard(connection)
                    polling.discard(connection)
                case StateTurned():
                    state = record.state
                case _:
                    pass
            if is_last:
                is_right = len(websockets) <= 1 and not (state is ClientState.LIVE and polling)
                what = f"{client.name} is {state.value} with {len(websockets)} WebSockets and {len(polling)} polling transports"
                yield None if is_right else f"{when(record.at)} {what}"


def repeats(trace_index: TraceIndex) -> Findings:
    """G10: no publish is sent twice on one living connection, unless the server asked for it."""
    for client in trace_index.clients.values():
        sent: dict[int, set[int]] = {}
        for record in client.records:
            if isinstance(record, RetryAsked):
                sent.pop(record.connection_id, None)
            elif isinstance(record, PublishSent):
                before = sent.setdefault(record.connection_id, set())
                what = f"{client.name} sends publish {record.client_sequence} twice on one living connection"
                yield f"{when(record.at)} {what}" if record.client_sequence in before else None
                before.add(record.client_sequence)


def honest_endpoints(trace_index: TraceIndex) -> Findings:
    """G6: neither endpoint closes the other for something that it did not do, and only the application or the policy ends a
    session."""
    for client in trace_index.clients.values():
        for record in client.records:
            if isinstance(record, ConnectionLeft) and record.code is not None and record.code >= VIOLATION_CODES_FROM:
                yield f"{when(record.at)} {client.name} accuses an honest server: {record.code} {record.message}"
    if trace_index.started.world not in HONEST_WORLDS:
        return
    for refused in trace_index.served:
        if isinstance(refused, ConnectionRefused):
            # A token may expire while its connection is stalled.
            is_wrong = refused.code is not None and refused.code >= REFUSAL_CODES_FROM and refused.code != CloseCode.TOKEN
            what = f"the server accuses honest {refused.client_id}: {refused.code} {refused.message}"
            yield f"{when(refused.at)} {what}" if is_wrong else None
    for client in trace_index.clients.values():
        over = next((record for record in client.records if isinstance(record, SessionOver)), None)
        if over is None or client.left_at is not None:
            yield None
        else:
            gave_up = over.code is None and "policy gave up" in over.message
            yield None if gave_up else f"{when(over.at)} {client.name} has ended by itself: {over.code} {over.message}"


def fallback(trace_index: TraceIndex) -> Findings:
    """G6: polling takes over when the fallback policy says so (7.25). Failures are counted if 7.21 certainly counts them; the
    time without a transport is checked when the client's alarm was handled."""
    policy, config = trace_index.started.fallback, trace_index.started.client
    if trace_index.started.world not in HONEST_WORLDS or policy is None or config is None:
        return
    failures_max = policy.failures if isinstance(policy, AfterFailures | AfterEither) else None
    seconds_max = policy.seconds if isinstance(policy, AfterSeconds | AfterEither) else None
    for client in trace_index.clients.values():
        state, failures = ClientState.NEW, 0
        uncarried_since, live_since, not_before = client.started_at, 0, 0
        websockets: set[int] = set()
        for record, is_last in instants(client.records):
            match record:
                case AttemptMade(connection_id=connection, transport=Transport.WEBSOCKET):
                    websockets.add(connection)
                case WaitAsked(at=at, retry_after_ms=wait_ms):
                    not_before = max(not_before, at + wait_ms * NS_PER_MS)
                case ConnectionLost(at=at, connection_id=connection, request=None) if connection in websockets:
                    is_steady = state is ClientState.LIVE and at - live_since >= ns(config.steady_after_s)
                    failures = 0 if is_steady else failures + (not state.is_polling)
                case StateTurned(at=at):
                    if state is ClientState.LIVE and at - live_since >= ns(config.steady_after_s):
                        failures = 0
                    if record.state is ClientState.LIVE and state is not ClientState.LIVE:
                        live_since = at
                    had_transport = state.has_websocket or state.is_polling
                    if had_transport and not (record.state.has_websocket or record.state.is_polling):
                        uncarried_since = at
                    state = record.state
                case AlarmServed(at=at) if seconds_max is not None and state in UNCARRIED:
                    lasts_s = (at - max(uncarried_since, not_before)) / NS_PER_S
                    what = f"{client.name} is {state.value} after {lasts_s:g} s without a transport, and does not poll"
                    yield None if lasts_s <= seconds_max else f"{when(at)} {what}"
                case _:
                    pass
            if is_last and failures_max is not None and state in UNCARRIED:
                what = f"{client.name} is {state.value} after {failures} failed attempts, and does not poll"
                yield None if failures < failures_max else f"{when(record.at)} {what}"


def instants(records: list[ClientRecord]) -> Iterator[tuple[ClientRecord, bool]]:
    """Each record, and whether it is the last of its instant."""
    for place, record in enumerate(records):
        yield record, place + 1 == len(records) or records[place + 1].at > record.at
