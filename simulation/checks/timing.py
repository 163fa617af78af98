"""Checks of time: no action happens too early or stays undone too long, also during faults.

They cover the earliest time of every attempt, probe and poll, and the latest; the end of tokens, of grace periods and of waiting
publishes; rates; the heartbeat. Each rule is written from the clause of the protocol that it names, with observed events, and not
from the machines' timers. Deadlines are checked when the alarm of that side was handled, because until then a driver may be late.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from reference.protocol.errors import CloseCode
from reference.protocol.frames import encoded_bytes
from reference.protocol.policies.catalogue import WAIT_CEILING_S, Policy
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.checks.verdicts import SLACK_NS, Findings, when
from simulation.scenario.scenario import longest_wait_s
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import (
    AcceptedRecord,
    AlarmServed,
    AttemptMade,
    ByeTaken,
    ClientRecord,
    ClockStepped,
    ConnectionLeft,
    ConnectionLost,
    ConnectionRefused,
    EventsCommitted,
    Failed,
    FrameGiven,
    Published,
    PublishSent,
    PublishTaken,
    ReaderBlocked,
    ReadingTurned,
    RequestAnswered,
    RequestMade,
    RetryAsked,
    RosterHeard,
    ServerAlarmServed,
    ServerKilled,
    ServerStarted,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    StateTurned,
    TokenTaken,
    WaitAsked,
)

FAILURES_LOOKED_AT = 20


def policy_waits(trace_index: TraceIndex) -> Findings:
    """G10, 7.22 and 7.23: after a failed attempt the next one comes no earlier than the policy's least wait, counted from the
    failure or from the time that the server asked for. A spread from the server replaces it; a new token allows one earlier
    attempt."""
    policy, config = trace_index.started.policy, trace_index.started.client
    if policy is None or config is None:
        return
    for client in trace_index.clients.values():
        state, failures, live_since = ClientState.NEW, 0, 0
        waits_since: int | None = None
        not_before, is_excused = 0, False
        for record in client.records:
            match record:
                case WaitAsked(at=at, retry_after_ms=retry_after_ms, spread_ms=spread_ms):
                    not_before = max(not_before, at + retry_after_ms * NS_PER_MS)
                    is_excused = is_excused or spread_ms is not None
                case ConnectionLost(at=at, request=None) if not state.is_polling:
                    is_steady = state is ClientState.LIVE and at - live_since >= ns(config.steady_after_s)
                    failures = 0 if is_steady else failures + 1
                case StateTurned(at=at):
                    if state is ClientState.LIVE and at - live_since >= ns(config.steady_after_s):
                        failures = 0
                    if record.state is ClientState.LIVE:
                        live_since = live_since if state is ClientState.LIVE else at
                    if record.state is ClientState.REFRESHING:
                        is_excused = True
                    if record.state is ClientState.WAITING and state is not ClientState.WAITING:
                        waits_since = at
                    state = record.state
                case AttemptMade(at=at, transport=Transport.WEBSOCKET) if waits_since is not None and not state.is_polling:
                    least = 0 if is_excused or failures == 0 else _least_wait(policy, failures)
                    due = max(waits_since, not_before) + least
                    what = f"{client.name} tries again {(due - at) / NS_PER_S:.3f} s before the least wait of its policy is over"
                    yield None if at >= due - SLACK_NS else f"{when(at)} {what}"
                    waits_since, is_excused = None, False
                case _:
                    pass


def _least_wait(policy: Policy, failures: int) -> int:
    """In ns; for this many failures or a few more, because not every failure is visible from outside. A day if the policy has
    given up: then nothing is tried."""
    ranges = [policy.range_s(failures + more) for more in range(FAILURES_LOOKED_AT)]
    return ns(min((span[0] for span in ranges if span is not None), default=WAIT_CEILING_S))


def failed_polls(trace_index: TraceIndex) -> Findings:
    """G10, 7.23 and 7.27: after a poll that failed the next comes no earlier than the policy's least wait, counted from the
    failure or from the time that the server had asked for by then, and, while polling goes on, not before `poll_interval_s`: also
    not on a new connection for a new token (7.37). Requests that failed since the last answered poll are counted together. Who
    reads again may poll at once (7.19)."""
    policy, config = trace_index.started.policy, trace_index.started.client
    if policy is None or config is None or not _is_watched(trace_index):
        return
    for client in trace_index.clients.values():
        failures, not_before = 0, 0
        failed: ConnectionLost | None = None
        waits_from = least = interval = 0
        before: object = None
        for record in client.records:
            match record:
                case ConnectionLost(at=at, request=str(request)):
                    failures += 1
                    if request == "poll":
                        failed, waits_from, least = record, max(at, not_before), _least_wait(policy, failures)
                        interval = ns(config.poll_interval_s)
                case StateTurned(state=state) if not state.is_polling:
                    interval = 0
                case WaitAsked(at=at, retry_after_ms=retry_after_ms):
                    not_before = max(not_before, at + retry_after_ms * NS_PER_MS)
                    if failed is not None and failed is before:
                        waits_from = max(waits_from, not_before)
                case RequestAnswered(request="poll"):
                    failures = 0
                case ReadingTurned(is_holding=False):
                    failed = None
                case RequestMade(at=at, request="poll") if failed is not None:
                    due = max(waits_from + least, failed.at + interval)
                    what = f"{client.name} polls again {(due - at) / NS_PER_S:.3f} s before the wait after a failure is over"
                    yield None if at >= due - SLACK_NS else f"{when(at)} {what}"
                    failed = None
                case _:
                    pass
            before = record


def rejections(trace_index: TraceIndex) -> Findings:
    """G10, 7.10: after a retryable rejection nothing is published for `retry_base_s` on the same connection, and nothing on any
    before the time that the rejection named. A rejection of what had been put off before asks for nothing."""
    config = trace_index.started.client
    if config is None or not _is_watched(trace_index):
        return
    for client in trace_index.clients.values():
        put_off: dict[int, int] = {}  # connection -> until when it is silent
        asked_until = 0
        websocket = 0
        in_flight: set[int] = set()  # on that WebSocket
        requested: int | None = None  # the polling connection whose publish request counts: no WebSocket was welcomed since
        for record in client.records:
            match record:
                case RosterHeard(users=tuple(), cursors=dict(), epoch=None):
                    # A welcome: the new connection waits for `asked_until`.
                    put_off, requested, in_flight = {}, None, set()
                case ConnectionLost(connection_id=connection, request=None) | ConnectionLeft(connection_id=connection):
                    in_flight = set() if connection == websocket else in_flight
                case PublishSent(at=at, connection_id=connection, client_sequence=number):
                    if connection != websocket:
                        websocket, in_flight = connection, set()
                    yield _too_soon(client, at, max(put_off.get(connection, 0), asked_until))
                    in_flight.add(number)
                case RequestMade(at=at, connection_id=lane, request="publishMany"):
                    yield _too_soon(client, at, max(put_off.get(lane, 0), asked_until))
                    requested = lane
                case RetryAsked(at=at, connection_id=connection, client_sequence=number):
                    if number in in_flight or connection == requested:
                        # 7.29: a late result of polling settles what was sent again.
                        put_off[websocket if number in in_flight else connection] = at + ns(config.retry_base_s)
                        in_flight = {each for each in in_flight if each < number}
                        requested = None
                        asked_until = max(asked_until, at + (record.retry_after_ms or 0) * NS_PER_MS)
                case _:
                    pass


def _too_soon(client: ClientIndex, at: int, due: int) -> str | None:
    what = f"{client.name} publishes {(due - at) / NS_PER_S:.3f} s before the wait after a rejection is over"
    return None if at >= due - SLACK_NS else f"{when(at)} {what}"


def polls_and_probes(trace_index: TraceIndex) -> Findings:
    """G10, 7.26 to 7.28: the next poll comes no earlier than `poll_interval_s` after an answer, unless there is more or the
    application reads again; the next probe no earlier than the least interval after polling began or the last probe failed."""
    config = trace_index.started.client
    if config is None or not _is_watched(trace_index):
        return
    least_probe = ns(config.probe_interval_s * (1 - config.probe_jitter))
    for client in trace_index.clients.values():
        answered: dict[int, RequestAnswered] = {}
        for record in client.records:
            match record:
                case RequestAnswered(connection_id=lane, request="poll"):
                    answered[lane] = record
                case ReadingTurned(is_holding=False):
                    answered.clear()
                case RequestMade(at=at, connection_id=lane, request="poll"):
                    last = answered.pop(lane, None)
                    if last is not None:
                        is_due = last.has_more or at >= last.at + ns(config.poll_interval_s) - SLACK_NS
                        what = f"{client.name} polls again after {(at - last.at) / NS_PER_S:.3f} s"
                        yield None if is_due else f"{when(at)} {what}"
                case _:
                    pass
        for record, since, is_excused in _waits_for_probes(client):
            match record:
                case AttemptMade(at=at, transport=Transport.WEBSOCKET):
                    what = f"{client.name} probes after {(at - since) / NS_PER_S:.3f} s of polling"
                    yield None if is_excused or at >= since + least_probe - SLACK_NS else f"{when(at)} {what}"
                case _:
                    pass


def _waits_for_probes(client: ClientIndex) -> Iterator[tuple[ClientRecord, int, bool]]:
    """Each record of the time in which polling waits for its next probe, since when it does, and whether the probe may come at
    once, because one was dropped for want of a token. A new token for polling begins no new wait (7.40)."""
    state, since, is_excused, goes_on = ClientState.NEW, 0, False, False
    for record in client.records:
        if isinstance(record, StateTurned):
            if record.state is ClientState.REFRESHING:
                goes_on = state.is_polling
                is_excused = is_excused or (goes_on and state is not ClientState.POLLING)
                since = since if state is ClientState.POLLING else record.at
            elif record.state is ClientState.POLLING and state is not ClientState.POLLING and not goes_on:
                since, is_excused = record.at, False
            goes_on = goes_on and record.state is ClientState.REFRESHING
            state = record.state
        elif state is ClientState.POLLING:
            yield record, since, is_excused


def probes_go_on(trace_index: TraceIndex) -> Findings:
    """G6, 7.28 and 7.40: no probe is overdue once the alarm was served. The longest wait for it counts from when polling began,
    the last probe failed, or the server's wish to be left alone ended; a new token for polling begins no new wait."""
    config = trace_index.started.client
    if config is None or not _is_watched(trace_index):
        return
    longest = ns(config.probe_interval_max_s * (1 + config.probe_jitter))
    for client in trace_index.clients.values():
        waits = [record for record in client.records if isinstance(record, WaitAsked)]
        asked = [(wait.at, wait.at + (wait.retry_after_ms + (wait.spread_ms or 0)) * NS_PER_MS) for wait in waits]
        for record, since, _ in _waits_for_probes(client):
            if isinstance(record, AlarmServed):
                not_before = max((until for asked_at, until in asked if asked_at <= record.at), default=0)
                what = f"{client.name} has not probed for {(record.at - since) / NS_PER_S:.3f} s of polling"
                yield None if record.at <= max(since, not_before) + longest + SLACK_NS else f"{when(record.at)} {what}"


def attempts_go_on(trace_index: TraceIndex) -> Findings:
    """G6, 7.22 and 7.23: no attempt is overdue once the alarms were served. The longest wait of the policy, or the spread in its
    place, counts from when the client began to wait or from the time that the server had asked for. All alarms of this world that
    are due ring together, so any of them shows that none was late."""
    policy, config, server = trace_index.started.policy, trace_index.started.client, trace_index.started.server
    if policy is None or config is None or server is None or trace_index.started.world != "adversary":
        return
    longest = ns(max(longest_wait_s(policy, math.inf), config.first_spread_s, server.first_spread_s))
    of_clients = (record.at for client in trace_index.clients.values() for record in client.records if _is_alarm(record))
    rung = sorted({*of_clients, *(record.at for record in trace_index.served if _is_alarm(record))})
    for client in trace_index.clients.values():
        since: int | None = None
        not_before, spread = 0, 0
        for record in client.records:
            match record:
                case WaitAsked(at=at, retry_after_ms=retry_after_ms, spread_ms=spread_ms):
                    not_before = max(not_before, at + retry_after_ms * NS_PER_MS)
                    spread = max(spread, (spread_ms or 0) * NS_PER_MS)
                case StateTurned(at=at, state=ClientState.WAITING):
                    since = at if since is None else since
                case StateTurned(at=at) if since is not None:
                    due = max(since, not_before) + max(longest, spread)
                    served = rung[bisect_left(rung, at) - 1] if rung and rung[0] < at else 0
                    what = f"{client.name} has not tried again {(served - due) / NS_PER_S:.3f} s after its longest wait"
                    yield None if served <= due + SLACK_NS else f"{when(at)} {what}"
                    since = None
                case _:
                    pass


def _is_alarm(record: object) -> bool:
    return isinstance(record, AlarmServed | ServerAlarmServed)


def polling_goes_on(trace_index: TraceIndex) -> Findings:
    """G6, 7.26 and 7.27: while polling carries a session, whatever its probes do, no poll is overdue when its alarm was handled:
    it follows an answer within `poll_interval_s`, unless the server asked for a wait or the application does not read."""
    config = trace_index.started.client
    if config is None or not _is_watched(trace_index):
        return
    for client in trace_index.clients.values():
        state, is_holding, not_before = ClientState.NEW, False, 0
        idle_since: int | None = None
        for record in client.records:
            match record:
                case StateTurned():
                    state = record.state
                    idle_since = idle_since if state.is_polling else None
                case ReadingTurned():
                    is_holding, idle_since = record.is_holding, None
                case WaitAsked(at=at, retry_after_ms=retry_after_ms, spread_ms=spread_ms):
                    not_before = max(not_before, at + (retry_after_ms + (spread_ms or 0)) * NS_PER_MS)
                case RequestAnswered(at=at, request="poll"):
                    idle_since = at
                case RequestMade(request="poll") | AttemptMade(transport=Transport.POLLING) | ConnectionLost(request="poll"):
                    idle_since = None
                case AlarmServed(at=at) if state.is_polling and idle_since is not None and not is_holding:
                    due = max(idle_since + ns(config.poll_interval_s), not_before)
                    what = f"{client.name} has not polled for {(at - idle_since) / NS_PER_S:.3f} s"
                    yield None if at <= due + SLACK_NS else f"{when(at)} {what}"
                case _:
                    pass


def expiries(trace_index: TraceIndex) -> Findings:
    """G7: a waiting publish expires when it is `outbox_age_max_s` old, and not before."""
    config = trace_index.started.client
    if config is None:
        return
    for client in trace_index.clients.values():
        for ticket, failures in client.failed.items():
            publish = client.published.get(ticket)
            for failed in failures:
                if failed.code == "expired" and publish is not None:
                    aged = failed.at - publish.at
                    what = f"{client.name}'s publish {ticket} expired after {aged / NS_PER_S:.3f} s"
                    yield None if aged >= ns(config.outbox_age_max_s) - SLACK_NS else f"{when(failed.at)} {what}"
        yield from _overdue(client, ns(config.outbox_age_max_s))


def _overdue(client: ClientIndex, age_max: int) -> Findings:
    """Publishes made while no transport carries the session wait; when the alarm was handled, none of them is too old."""
    waits: dict[int, int] = {}
    is_alone = True
    for record in client.records:
        match record:
            case StateTurned(is_carried=is_carried):
                if is_carried or record.state.is_polling:
                    waits.clear()
                is_alone = not is_carried and not record.state.is_polling
            case Published(at=at, ticket=ticket) if is_alone:
                waits[ticket] = at
            case AcceptedRecord(ticket=ticket) | Failed(ticket=ticket):
                waits.pop(ticket, None)
            case AlarmServed(at=at):
                for ticket, since in waits.items():
                    what = f"{client.name}'s publish {ticket} still waits after {(at - since) / NS_PER_S:.3f} s"
                    yield None if at - since <= age_max + SLACK_NS else f"{when(at)} {what}"
            case _:
                pass


def tokens(trace_index: TraceIndex) -> Findings:
    """G7: a connection outlives its token by `token_grace_s` and no more, and is not closed for it before."""
    server = trace_index.started.server
    if server is None:
        return
    ends: dict[int, tuple[str, int]] = {}
    welcomed: set[int] = set()
    for record in trace_index.served:
        match record:
            case TokenTaken(connection_id=connection, good_until=good_until):
                ends.pop(connection, None)
                if good_until is not None:
                    ends[connection] = (record.client_id, good_until + ns(server.token_grace_s))
            case ConnectionRefused(at=at, connection_id=connection, code=code):
                name, end = ends.pop(connection, ("", 0))
                if code == CloseCode.TOKEN and name:
                    early_s = (end - at) / NS_PER_S
                    what = f"a connection of {name} was closed {early_s:.3f} s before its token and the grace were over"
                    yield None if at >= end - SLACK_NS else f"{when(at)} {what}"
            case SessionLeft(connection_id=connection):
                ends.pop(connection, None)
            case ServerStarted() | ServerKilled() | ClockStepped():
                ends.clear()
            case FrameGiven(connection_id=connection, frame="Welcome"):
                welcomed.add(connection)
            case ServerAlarmServed(at=at):
                for name, end in [ends[connection] for connection in ends if connection in welcomed]:
                    what = f"a connection of {name} has outlived its token and the grace by {(at - end) / NS_PER_S:.3f} s"
                    yield None if at <= end + SLACK_NS else f"{when(at)} {what}"
            case _:
                pass


def rates(trace_index: TraceIndex) -> Findings:
    """G7, 8.6: in no interval does the server take more publishes of one client, or more of their bytes, than burst and rate
    allow."""
    server = trace_index.started.server
    if server is None:
        return
    entries = [entry for found in trace_index.entries.values() for entry in found]
    sizes = {(entry.client_id, entry.client_sequence): encoded_bytes(entry.data) for entry in entries}
    for taken in _lives(trace_index):
        sizes_taken = [sizes.get((each.client_id, each.client_sequence), 0) for each in taken]
        yield from _within(taken, [1] * len(taken), server.publishes_per_s, server.publish_burst, "publishes")
        yield from _within(taken, sizes_taken, server.publish_bytes_per_s, server.publish_bytes_burst, "bytes")


def _within(taken: list[PublishTaken], costs: list[int], per_s: float, burst: int, unit: str) -> Findings:
    """Whether a token bucket has enough for each, if it costs so much."""
    spent = [0, *accumulate(costs)]
    for later, record in enumerate(taken):
        left = min(
            (record.at - each.at) / NS_PER_S * per_s - (spent[later + 1] - spent[first])
            for first, each in enumerate(taken[: later + 1])
        )
        what = f"a client had {spent[later + 1]} {unit} taken, more than {per_s:g} per second allow"
        yield None if left + burst >= -1e-6 else f"{when(record.at)} {what}"


def _lives(trace_index: TraceIndex) -> Iterator[list[PublishTaken]]:
    """The publishes of one client that were taken, in one life of the server with one clock."""
    taken: dict[str, list[PublishTaken]] = {}
    for record in trace_index.served:
        if isinstance(record, PublishTaken):
            taken.setdefault(record.client_id, []).append(record)
        elif isinstance(record, ServerStarted | ServerKilled | ClockStepped):
            yield from taken.values()
            taken = {}
    yield from taken.values()


def grace_periods(trace_index: TraceIndex) -> Findings:
    """G12: a session whose connection has ended is over after `presence_grace_s`, and not before, unless it said bye."""
    server = trace_index.started.server
    if server is None or not _is_watched(trace_index):
        return
    grace = ns(server.presence_grace_s)
    connections: dict[str, int] = {}
    left: dict[str, int] = {}
    said_bye: set[str] = set()
    polls = {
        client.client_id
        for client in trace_index.clients.values()
        if any(isinstance(each, RequestMade) for each in client.records)
    }
    for record in trace_index.served:
        match record:
            case ByeTaken(client_id=client):
                said_bye.add(client)
            case SessionJoined(session_id=session, connection_id=connection, client_id=client):
                connections[session] = connection
                left.pop(session, None)
                said_bye.discard(client)
            case SessionLeft(at=at, session_id=session, connection_id=connection) if connections.get(session) == connection:
                left[session] = at
            case SessionDeparted(at=at, session_id=session, client_id=client):
                since = left.pop(session, None)
                is_connected = connections.pop(session, None) is not None and since is None
                if since is not None and client not in said_bye:
                    what = f"the session of {client} was over {(at - since) / NS_PER_S:.3f} s after its connection"
                    yield None if at - since >= grace - SLACK_NS else f"{when(at)} {what}"
                elif is_connected and client not in said_bye:
                    yield f"{when(at)} the session of {client} was over while it had a connection"
            case ServerStarted() | ServerKilled() | ClockStepped():
                connections.clear()
                left.clear()
            case ServerAlarmServed(at=at):
                for session, since in left.items():
                    owner = trace_index.session_owners.get(session, "")
                    what = f"the session of {owner} stays {(at - since) / NS_PER_S:.3f} s after its connection"
                    if owner not in polls:
                        yield None if at - since <= grace + SLACK_NS else f"{when(at)} {what}"
            case _:
                pass


def heartbeats(trace_index: TraceIndex) -> Findings:
    """G13, 8.20: a reader that takes frames is given a heartbeat when nothing was appended for `heartbeat_interval_s`."""
    server = trace_index.started.server
    if server is None or trace_index.started.world != "adversary":
        return
    interval = ns(server.heartbeat_interval_s)
    heard: dict[int, int] = {}
    blocked: set[int] = set()
    appended_at = 0
    for record in trace_index.served:
        match record:
            case EventsCommitted(at=at):
                appended_at = at
            case FrameGiven(at=at, connection_id=connection, frame="Welcome" | "Heartbeat"):
                heard[connection] = at
            case ConnectionRefused(connection_id=connection) | SessionLeft(connection_id=connection):
                heard.pop(connection, None)
            case ReaderBlocked(at=at, connection_id=connection, is_blocked=is_blocked):
                blocked = blocked | {connection} if is_blocked else blocked - {connection}
                if connection in heard:
                    heard[connection] = at
            case ServerStarted() | ServerKilled() | ClockStepped():
                heard.clear()
            case ServerAlarmServed(at=at):
                for heard_at in [heard[connection] for connection in heard if connection not in blocked]:
                    quiet = at - max(heard_at, appended_at)
                    what = f"a connection was given no heartbeat in {quiet / NS_PER_S:.3f} s without an event"
                    yield None if quiet <= interval + SLACK_NS else f"{when(at)} {what}"
            case _:
                pass


def _is_watched(trace_index: TraceIndex) -> bool:
    return trace_index.started.world in ("adversary", "server_under_test")
