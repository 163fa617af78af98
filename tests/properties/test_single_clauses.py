"""Clauses of the protocol that no guarantee covers, each as a property of the machine that keeps it.

A breach of one of these loses nothing and reorders nothing, so no checker of a guarantee sees it: a wait that does not grow, a
warning that never comes, a limit that the drawn worlds do not reach. Times are compared to the nanosecond.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.client.client_report import POLL, ClientReport
from reference.protocol.client.delivery import Roster
from reference.protocol.client.outcomes import NotConnected
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import CloseCode, RejectCode
from reference.protocol.events import DEFAULT_REGISTRY, Data, Event
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.server.sequencer import Sequencer
from reference.protocol.server.sessions import CURSORS_BYTES_MAX, Attendance
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.adversary import steps
from simulation.adversary.ground import Setup
from simulation.adversary.world import AdversarialWorld
from simulation.trace.index import index_of
from simulation.trace.trace import AttemptMade
from tests.protocol.machines import (
    EPOCH,
    Client,
    client_in,
    closes,
    come_back,
    go_live,
    opened,
    seconds,
    sent,
    stored_run,
    welcome,
)
from tests.protocol.runs import publish, run_of, store

RETRY_CAP_S = 30.0
"""The longest wait after a retryable rejection (9.4)."""
GAPS_MS = st.integers(0, 1500)


def alarms(machine: ClientSession | Run, since: int, until: int) -> Iterator[int]:
    """Yield `since`, and then the time of every alarm up to `until`, each when it has been served."""
    yield since
    while (deadline := machine.next_deadline()) is not None and deadline <= until:
        machine.handle_timeout(deadline)
        yield deadline


# The server.

PUBLISHES = st.tuples(st.sampled_from(["c1", "c2", "c3"]), st.sampled_from(["CHAT", "GRAFT", "UNKNOWN"]))


@given(schedule=st.lists(PUBLISHES | st.none(), max_size=30))
def test_answers_leave_in_the_order_in_which_publishes_were_taken(schedule: list[tuple[str, str] | None]) -> None:
    """8.9, over all clients. None: the store has finished. A final rejection (of a GRAFT without a position, or of an unknown
    type) waits while something taken before it is not durable, like an acceptance; otherwise it leaves at once."""
    sequencer = Sequencer(stored_run(), ServerConfig(), DEFAULT_REGISTRY)
    newest: Counter[str] = Counter()
    taken: list[tuple[int, int]] = []
    answered: list[tuple[int, int]] = []
    not_durable: list[int] = []
    for step in schedule:
        if step is None:
            if (append := sequencer.take_append()) is not None:
                sequencer.appended(append.entries[-1].sequence_number)
            not_durable.clear()
        else:
            client, event_type = step
            connection_id = int(client[1])
            newest[client] += 1
            if event_type == "CHAT":
                not_durable.append(len(taken))
            taken.append((connection_id, newest[client]))
            message = frames.Message(client_sequence=newest[client], event_type=event_type, data={})
            sequencer.publish(client, f"user of {client}", message, connection_id, 0)
        answered += [(reply.connection_id, reply.answer.client_sequence) for reply in sequencer.take_replies()]
        assert answered == taken[: min(not_durable, default=len(taken))]


CHANGES = st.tuples(st.sampled_from(["GRAFT", "PRUNE", "FLAG"]), st.sampled_from("abc"), st.sampled_from(["", "x", 40 * "x"]))


@given(changes=st.lists(CHANGES, max_size=20), entries_max=st.integers(1, 4), bytes_max=st.sampled_from([100, 200, 1000]))
def test_the_state_of_a_run_stays_within_its_limits(
    changes: list[tuple[str, str, str]], entries_max: int, bytes_max: int
) -> None:
    """1.8: an event that would exceed a limit is refused, and no other event is. One that only replaces needs no entry."""
    config = ServerConfig(state_entries_max=entries_max, state_bytes_max=bytes_max)
    sequencer = Sequencer(stored_run(), config, DEFAULT_REGISTRY)
    grafts: dict[str, Data] = {}
    prunes: set[str] = set()
    flags: list[Data] = []

    def size() -> tuple[int, int]:
        state = {"grafts": grafts, "prunes": sorted(prunes), "flags": flags}
        return len(grafts) + len(prunes) + len(flags), len(json.dumps(state, separators=(",", ":")))

    for number, (event_type, key, text) in enumerate(changes, start=1):
        data: Data = {"position": key, "step": key, "text": text}
        entries_before, bytes_before = size()
        before = dict(grafts), set(prunes), list(flags)
        match event_type:
            case "GRAFT":
                grafts[key] = data
            case "PRUNE":
                prunes.add(key)
            case _:
                flags.append(data)
        entries, size_bytes = size()
        is_in_bounds = entries <= max(entries_before, entries_max) and size_bytes <= max(bytes_before, bytes_max)
        sequencer.publish("c1", "ann", frames.Message(client_sequence=number, event_type=event_type, data=data), 1, 0)
        if (append := sequencer.take_append()) is not None:
            sequencer.appended(append.entries[-1].sequence_number)
        (reply,) = sequencer.take_replies()
        if isinstance(reply.answer, frames.Accepted):
            assert is_in_bounds
        else:
            assert reply.answer.code == RejectCode.STATE_FULL
            assert not is_in_bounds
            grafts, prunes, flags = before


MOMENTS = st.tuples(GAPS_MS, st.sampled_from(["publish", "cursor", "join", "nothing"]))


@given(
    behind=st.integers(0, 4),
    batch_events_max=st.integers(1, 3),
    wait_ms=st.integers(0, 5000),
    moments=st.lists(MOMENTS, max_size=8),
)
def test_a_poll_waits_for_events_and_for_nothing_else(
    behind: int, batch_events_max: int, wait_ms: int, moments: list[tuple[int, str]]
) -> None:
    """8.25, 8.26: it is answered at once if there is something to read, else when events are appended or its time is over."""
    run = run_of("ann", batch_events_max=batch_events_max, silence_max_s=1000.0)
    for number in range(1, behind + 1):
        publish(run, 1, number)
        store(run)
    run.connection_opened(2, Transport.POLLING, Identity("bob"), "session-2", 0)
    run.receive_frame(2, frames.PollRequest(epoch=EPOCH, after_sequence=0, wait_ms=wait_ms), 0)
    answers: list[tuple[int, frames.PollAnswer]] = []

    def look(at: int) -> None:
        answers.extend((at, frame) for frame in sent(run.take_actions(), 2) if isinstance(frame, frames.PollAnswer))

    now, number, due = 0, behind, 0 if behind else wait_ms * NS_PER_MS
    for place, (gap_ms, what) in enumerate([*moments, (wait_ms, "nothing")]):
        for at in alarms(run, now, now + gap_ms * NS_PER_MS):
            look(at)
        now += gap_ms * NS_PER_MS
        if what == "publish":
            number += 1
            publish(run, 1, number, now)
            store(run, now)
            due = min(due, now)
        elif what == "cursor":
            run.receive_frame(1, frames.Cursor({"x": place}), now)
        elif what == "join":
            go_live(run, 100 + place, f"client-{100 + place}", f"user-{place}", now)
        look(now)
    ((answered_at, answer),) = answers
    assert answered_at == due
    numbers = [event.sequence_number for event in answer.events]
    assert numbers == list(range(1, min(answer.head, batch_events_max) + 1))
    assert answer.has_more is (len(numbers) < answer.head)


@given(
    life_ms=st.integers(1, 60_000),
    age_ms=st.integers(0, 60_000),
    fraction=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    grace_s=st.sampled_from([0.001, 5.0]),
)
def test_a_token_is_warned_of_and_ends_with_its_grace(life_ms: int, age_ms: int, fraction: float, grace_s: float) -> None:
    """8.38, 8.39: the warning names the time that is left; it comes at once if its time was before the connection."""
    config = ServerConfig(token_warning_fraction=fraction, token_grace_s=grace_s, silence_max_s=1000.0)
    born = seconds(100)
    now, ends = born + min(age_ms, life_ms) * NS_PER_MS, born + life_ms * NS_PER_MS
    run = Run(stored_run(), config=config, now=born)
    run.connection_opened(1, Transport.WEBSOCKET, Identity("ann", expires_at=ends, issued_at=born), "session-1", now)
    run.receive_frame(1, frames.Hello(protocol=1, client_id="client-1"), now)
    while run.is_lagging(1):
        run.next_batch(1, now)
    seen: list[tuple[int, str, int | None]] = []
    for at in alarms(run, now, ends + seconds(grace_s)):
        actions = run.take_actions()
        seen += [(at, "warned", frame.in_ms) for frame in sent(actions, 1) if isinstance(frame, frames.Expiring)]
        seen += [(at, "closed", code) for _, code in closes(actions)]
    warned_at = max(now, born + round(life_ms * NS_PER_MS * fraction))
    left_ms = (ends - warned_at) // NS_PER_MS
    assert seen == [(warned_at, "warned", left_ms), (ends + seconds(grace_s), "closed", CloseCode.TOKEN)]


@given(gaps_ms=st.lists(st.integers(1, 4000), max_size=8), silence_max_s=st.sampled_from([1.0, 3.0]))
def test_a_client_is_closed_for_silence_and_only_for_silence(gaps_ms: list[int], silence_max_s: float) -> None:
    """8.21: exactly `silence_max_s` after its last frame."""
    run = run_of("ann", silence_max_s=silence_max_s)
    now, closed_at = 0, None
    for nonce, gap_ms in enumerate([*gaps_ms, 5000]):
        last_at = now
        for at in alarms(run, now, now + gap_ms * NS_PER_MS):
            if (1, CloseCode.HEARTBEAT_LOST) in closes(run.take_actions()):
                closed_at = at
        if closed_at is not None:
            break
        now += gap_ms * NS_PER_MS
        run.receive_frame(1, frames.Ping(nonce), now)
    assert closed_at == last_at + seconds(silence_max_s)


@given(
    reads=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=12),
    per_s=st.sampled_from([1, 4]),
    burst=st.integers(2, 8),
)
def test_a_connection_sends_as_many_frames_as_its_rate_allows(reads: list[tuple[int, int]], per_s: int, burst: int) -> None:
    """8.41: the first frame that is too many in some stretch of time closes it with 4029, and no other frame does. The gaps are
    eighths of a second, which are exact in binary."""
    run = run_of("ann", frames_per_s=float(per_s), frame_burst=burst, publishes_per_s=0.5, publish_burst=1)
    came_at = [0]  # `hello`
    for eighths, count in reads:
        now = came_at[-1] + eighths * NS_PER_S // 8
        came_at += [now] * count
        run.receive_frames(1, [frames.Ping(0)] * count, now)
        most = max((len(came_at) - first) * NS_PER_S - per_s * (now - came_at[first]) for first in range(len(came_at)))
        is_too_much = most > burst * NS_PER_S
        assert ((1, CloseCode.RATE) in closes(run.take_actions())) is is_too_much
        if is_too_much:
            return


@given(kinds=st.lists(st.sampled_from([*Transport, None]), max_size=12), connections_max=st.integers(1, 4))
def test_a_run_keeps_the_limit_of_its_connections(kinds: list[Transport | None], connections_max: int) -> None:
    """8.27: the newest connection is closed with 4030, and no other one. None: the oldest connection ends."""
    run = run_of(connections_per_run_max=connections_max)
    standing: list[int] = []
    for number, kind in enumerate(kinds, start=1):
        if kind is not None:
            is_full = len(standing) == connections_max
            run.connection_opened(number, kind, Identity("ann"), f"session-{number}", 0)
            standing += [] if is_full else [number]
            assert closes(run.take_actions()) == ([(number, CloseCode.OVERLOADED)] if is_full else [])
        elif standing:
            run.connection_lost(standing.pop(0), 0)
        assert run.connections == len(standing)


CLAIMS = st.tuples(st.sampled_from(["hello", "poll", "later", "publish", "hello", "poll", "lost", "bye"]), st.integers(1, 2))


@given(claims=st.lists(CLAIMS, min_size=12, max_size=30))
def test_the_newest_generation_owns_the_session(claims: list[tuple[str, int]]) -> None:
    """8.22, 8.23, 8.24, 8.31 and 8.32, for connections of one client, each with its generation. Later: so many seconds pass."""
    grace_s = 2
    run = Run(stored_run(), config=ServerConfig(presence_grace_s=grace_s, silence_max_s=1000.0), now=0)
    now, newest, is_present, is_polling = 0, 0, False, False
    websocket: int | None = None
    ends_at: int | None = None
    for number, (what, generation) in enumerate(claims, start=1):
        is_taken = is_refused = False
        closed: list[tuple[int, int | None]] = []
        if what in ("hello", "poll", "publish"):
            transport = Transport.WEBSOCKET if what == "hello" else Transport.POLLING
            run.connection_opened(number, transport, Identity("ann"), f"session-{number}", now)
        match what:
            case "hello":
                run.receive_frame(number, frames.Hello(protocol=1, client_id="client-1", generation=generation), now)
                while run.is_lagging(number):
                    run.next_batch(number, now)
                is_refused = is_present and generation < newest
                is_taken = not is_refused
            case "poll":
                run.receive_frame(number, frames.PollRequest(client_id="client-1", generation=generation), now)
                is_taken = not is_present or generation > newest or (is_polling and generation == newest)
            case "publish":
                run.receive_frame(number, frames.PublishRequest(client_id="client-1", generation=generation), now)
                is_refused = is_present and generation < newest
                is_taken = is_present and generation > newest
            case "lost" if websocket is not None:
                run.connection_lost(websocket, now)
                websocket, ends_at = None, now + seconds(grace_s)
            case "bye" if websocket is not None:
                run.receive_frame(websocket, frames.Bye(), now)
                closed.append((websocket, 1000))
                websocket, is_present = None, False
            case "later":
                for at in alarms(run, now, now + seconds(generation)):
                    is_present = is_present and at != ends_at
                    assert bool(run.active_users) is is_present
                now += seconds(generation)
        if is_refused:
            closed.append((number, CloseCode.SUPERSEDED))
        if is_taken:
            closed += [] if websocket is None else [(websocket, CloseCode.SUPERSEDED)]
            newest, is_present, is_polling = generation, True, what != "hello"
            websocket, ends_at = (None, now + seconds(grace_s)) if is_polling else (number, None)
        actions = run.take_actions()
        assert closes(actions) == closed
        assert bool(run.active_users) is is_present
        if what in ("poll", "publish") and not is_refused:
            assert len(sent(actions, number)) == 1, "a request gets one answer"


CROWD: dict[str, Data] = {f"{number:04}": {"x": 480 * "x"} for number in range(2113)}
"""Cursors that leave room for one large cursor more, and not for two."""
MOVES = st.tuples(st.sampled_from(["ada", "bob", "cleo"]), st.sampled_from([1, 200, 450]))


@given(moves=st.lists(MOVES | st.none(), max_size=12))
def test_cursors_keep_their_limit_and_all_readers_are_shown_the_same(moves: list[tuple[str, int] | None]) -> None:
    """8.29. None: a frame tells the reader what moved. Without room for a cursor, the one that the user had before stays."""
    attendance, reader = Attendance(len(CROWD) + 3), Roster()
    for user in (*CROWD, "ada", "bob", "cleo"):
        attendance.arrive(user)
    for user, at in CROWD.items():
        attendance.move_cursor(user, at)
    attendance.take_cursors(0)
    shown: dict[str, Data] = {}

    def size(cursors: dict[str, Data]) -> int:
        return len(json.dumps(cursors, separators=(",", ":"))) - 1

    crowd_bytes = size(CROWD)
    for move in [*moves, None]:
        if move is None:
            if (told := attendance.take_cursors(0)) is not None:
                reader.cursors(told)
            assert reader.positions == shown
        else:
            user, length = move
            attendance.move_cursor(user, {"x": length * "x"})
            moved = {**shown, user: {"x": length * "x"}}
            shown = moved if crowd_bytes + size(moved) <= CURSORS_BYTES_MAX else shown
        assert attendance.cursors == CROWD | shown


# The client.


def frames_until(client: Client, until: int) -> Iterator[tuple[int, frames.Frame]]:
    """Serve a client's alarms up to `until` and answer its pings; yields the other frames that it sends, with their times."""
    for at in alarms(client.session, client.now, until):
        for frame in sent(client.session.take_actions(), client.websocket):
            if isinstance(frame, frames.Ping):
                client.session.receive_frame(client.websocket, frames.Pong(frame.nonce, server_time=0), at)
            else:
                yield at, frame
    client.now = until


@given(
    batches=st.lists(st.tuples(GAPS_MS, st.integers(1, 4)), min_size=1, max_size=10),
    ack_events=st.integers(1, 6),
    ack_interval_s=st.sampled_from([0.2, 1.0]),
)
def test_every_event_is_acknowledged_in_time(batches: list[tuple[int, int]], ack_events: int, ack_interval_s: float) -> None:
    """7.18: within `ack_interval_s`, and at once when `ack_events` were handed over since the last acknowledgement."""
    client = client_in(ClientState.LIVE, ack_events=ack_events, ack_interval_s=ack_interval_s)
    handed_at: list[int] = []
    acked_at: list[int] = []

    def look(until: int) -> None:
        for at, frame in frames_until(client, until):
            if isinstance(frame, frames.Ack):
                assert frame.sequence_number <= len(handed_at)
                acked_at.extend([at] * (frame.sequence_number - len(acked_at)))

    for gap_ms, count in batches:
        look(client.now + gap_ms * NS_PER_MS)
        numbers = range(len(handed_at) + 1, len(handed_at) + count + 1)
        events = tuple(Event("CHAT", "ann", 0, number, {}, False) for number in numbers)
        client.session.receive_frame(client.websocket, frames.Events(events), client.now)
        handed_at += [client.now] * count
        look(client.now)
        assert len(handed_at) - len(acked_at) < ack_events
    look(client.now + seconds(ack_interval_s))
    assert len(acked_at) == len(handed_at)
    assert all(acked - handed <= seconds(ack_interval_s) for acked, handed in zip(acked_at, handed_at, strict=True))


@given(gaps_ms=st.lists(st.integers(0, 120), min_size=1, max_size=20), interval_s=st.sampled_from([0.05, 0.2]))
def test_cursors_leave_at_their_interval_and_the_last_one_always(gaps_ms: list[int], interval_s: float) -> None:
    """7.11."""
    client = client_in(ClientState.LIVE, cursor_interval_s=interval_s)
    cursors: list[tuple[int, object]] = []

    def look(until: int) -> None:
        cursors.extend((at, frame.data["x"]) for at, frame in frames_until(client, until) if isinstance(frame, frames.Cursor))

    for number, gap_ms in enumerate(gaps_ms):
        look(client.now + gap_ms * NS_PER_MS)
        client.session.move_cursor({"x": number}, client.now)
    look(client.now + seconds(interval_s))
    assert all(later - earlier >= seconds(interval_s) for (earlier, _), (later, _) in pairwise(cursors))
    assert cursors[-1][1] == len(gaps_ms) - 1


@given(
    interval_s=st.sampled_from([0.3, 0.8, 2.0, 5.0, 20.0]),
    silence_max_ms=st.sampled_from([600, 1000, 1500, 2000, 30_000, None]),
)
def test_a_client_pings_more_often_than_the_server_allows_silence(interval_s: float, silence_max_ms: int | None) -> None:
    """7.31: at its own interval; if that is as long as the limit or longer, at half of the limit, but not more than once in a
    second."""
    client = client_in(ClientState.GREETING, ping_interval_s=interval_s)
    limits = frames.Limits(64 * 1024, 64, 200.0, silence_max_ms=silence_max_ms)
    client.session.receive_frame(client.websocket, welcome(outcome="resumed", limits=limits), client.now)
    pinged_at = []
    for at in alarms(client.session, client.now, seconds(61)):
        for frame in sent(client.session.take_actions(), client.websocket):
            if isinstance(frame, frames.Ping):
                pinged_at.append(at)
                client.session.receive_frame(client.websocket, frames.Pong(frame.nonce, server_time=0), at)
    wait = seconds(interval_s)
    if silence_max_ms is not None and wait >= silence_max_ms * NS_PER_MS:
        wait = min(wait, max(silence_max_ms * NS_PER_MS // 2, NS_PER_S))
    assert len(pinged_at) > 3
    assert {later - earlier for earlier, later in pairwise(pinged_at)} == {wait}


@given(opens_ms=st.integers(0, 3000), welcomed_ms=st.integers(0, 3000), timeout_s=st.sampled_from([0.5, 2.0]))
def test_an_attempt_has_a_time_to_open_and_the_same_again_to_be_welcomed(
    opens_ms: int, welcomed_ms: int, timeout_s: float
) -> None:
    """7.20: it is given up exactly then. `welcomed_ms`: how long after it was opened."""
    session = client_in(ClientState.CONNECTING, connect_timeout_s=timeout_s, fallback_after_failures=None).session
    timeout, opened_at = seconds(timeout_s), opens_ms * NS_PER_MS
    welcomed_at = opened_at + welcomed_ms * NS_PER_MS

    def given_up(since: int, until: int) -> list[int]:
        return [at for at in alarms(session, since, until) if (1, None) in closes(session.take_actions())]

    assert given_up(0, opened_at) == [timeout] * (timeout <= opened_at)
    if opened_at < timeout:
        session.connection_opened(1, opened_at)
        assert given_up(opened_at, welcomed_at) == [opened_at + timeout] * (opened_at + timeout <= welcomed_at)
        if welcomed_at < opened_at + timeout:
            session.receive_frame(1, welcome(outcome="resumed"), welcomed_at)
            assert given_up(welcomed_at, welcomed_at + 2 * timeout) == []


@given(rejections=st.integers(1, 8), retry_base_s=st.sampled_from([0.5, 2.0]))
def test_the_wait_after_a_rejection_doubles_with_each(rejections: int, retry_base_s: float) -> None:
    """7.10."""
    client = client_in(ClientState.LIVE, retry_base_s=retry_base_s, retry_limit=rejections)
    client.session.publish("CHAT", {}, client.now)
    rejected = frames.Rejected(client_sequence=1, code=RejectCode.OVERLOADED, message="", retryable=True)
    waits = []
    for _ in range(rejections):
        client.session.take_actions()
        client.session.receive_frame(client.websocket, rejected, client.now)
        rejected_at = client.now
        seen = list(frames_until(client, rejected_at + seconds(RETRY_CAP_S)))
        waits += [at - rejected_at for at, frame in seen if isinstance(frame, frames.Publish)]
    assert waits == [seconds(min(RETRY_CAP_S, retry_base_s * 2**n)) for n in range(rejections)]


@given(reasons=st.lists(st.sampled_from(["no route", "refused", "reset"]), min_size=1, max_size=8), times=st.integers(1, 2))
def test_a_reason_is_reported_once_until_something_carries_the_session(reasons: list[str], times: int) -> None:
    """7.43."""
    client = client_in(ClientState.CONNECTING, fallback_after_failures=None)
    session = client.session
    for _ in range(times):
        for reason in reasons:
            while session.state is ClientState.WAITING:
                client.now = session.next_deadline() or 0
                session.handle_timeout(client.now)
            client.websocket = max((action.connection_id for action in opened(session)), default=client.websocket)
            session.connection_lost(client.websocket, None, client.now, message=reason)
        reported = [outcome.reason for outcome in session.take_outcomes() if isinstance(outcome, NotConnected)]
        assert reported == list(dict.fromkeys(reasons))
        come_back(client)


@given(failures=st.integers(1, 4), base_s=st.sampled_from([0.5, 1.0]), longest_s=st.sampled_from([1.0, 4.0]))
def test_probes_grow_rare_until_one_is_steady(failures: int, base_s: float, longest_s: float) -> None:
    """7.28. With this chance the waits are not spread; a blocked attempt fails at once. A second round begins after a steady
    connection: its first attempt is the reconnect, which fails too."""
    client = ClientConfig(
        fallback_after_failures=1,
        probe_interval_s=base_s,
        probe_interval_max_s=longest_s,
        steady_after_s=1.0,
        poll_interval_s=0.5,
    )
    world = AdversarialWorld(Setup(users=("ann",), client=client, chance=(0.5,)))
    waits = [seconds(min(longest_s, base_s * 2**n)) for n in range(failures)]

    def attempts() -> list[int]:
        records = index_of(world.trace).clients["client0"].records
        return [each.at for each in records if isinstance(each, AttemptMade) and each.transport is Transport.WEBSOCKET]

    for begun in (0, None):
        before = len(attempts()) if begun is None else begun
        steps.Block(0, True).do(world)
        world.calm(sum(waits) / NS_PER_S + client.first_spread_s + 0.1)
        made = attempts()[before : before + failures + 1]
        assert [later - earlier for earlier, later in pairwise(made)] == waits
        steps.Block(0, False).do(world)
        world.calm(longest_s + 3 * client.steady_after_s)


COUNTS = ("failed_attempts", "gaps", "duplicates", "failed_messages")


@given(happenings=st.lists(st.sampled_from([*COUNTS, "ping", "pong", "lost", "poll", "answered", "failed"]), max_size=40))
def test_every_count_is_reported_and_none_is_acknowledged_twice(happenings: list[str]) -> None:
    """7.41: what a ping or a poll reported that was not answered is reported again."""
    report, nonce = ClientReport(), 0
    counted: Counter[str] = Counter()
    acknowledged: Counter[str] = Counter()
    by_ping: list[frames.Report] = []
    by_poll: list[frames.Report] = []
    is_polling = False

    def acknowledge(reports: list[frames.Report]) -> None:
        for each in reports:
            acknowledged.update({name: getattr(each, name) for name in COUNTS})
        reports.clear()

    for what in happenings:
        if what in COUNTS:
            setattr(report, what, getattr(report, what) + 1)
            counted[what] += 1
        elif what == "ping":
            nonce += 1
            by_ping += filter(None, [report.report(nonce, 0)])
        elif what == "pong":
            report.acknowledged(nonce)
            acknowledge(by_ping)
        elif what == "lost":
            report.unreported()
            by_ping.clear()
        elif what == "poll" and not is_polling:
            is_polling = True
            by_poll += filter(None, [report.report(POLL, 0)])
        elif what == "answered" and is_polling:
            is_polling = False
            report.poll_acknowledged()
            acknowledge(by_poll)
        elif what == "failed" and is_polling:
            is_polling = False
            report.poll_unreported()
            by_poll.clear()
    report.unreported()
    report.poll_unreported()
    acknowledge([last] if (last := report.report(nonce + 1, 0)) is not None else [])
    assert +acknowledged == counted
