"""Schedules: drawn worlds, drawn steps, and the calm after them in which everything must come right."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.timers import NS_PER_S, ns

from . import steps
from .hostile_link import WAIT_MAX_S, Setup, World
from .journal import Broken

GO_AWAY_MAX_S = 4.0
"""The longest wait that a schedule's `GoAway` asks for, spread included."""
AFTERWARDS_S = 4.0
"""How long a settled world is watched, lest it comes undone."""


@st.composite
def client_configs(draw: st.DrawFn) -> ClientConfig:
    """Small limits and short times, so that limits are hit and timers race."""
    unanswered_max = draw(st.integers(1, 4))
    return ClientConfig(
        connect_timeout_s=draw(st.sampled_from([1.0, 3.0])),
        ping_interval_s=draw(st.sampled_from([1.0, 3.0])),
        ping_timeout_s=draw(st.sampled_from([1.0, 2.0])),
        steady_after_s=draw(st.sampled_from([0.5, 3.0])),
        first_spread_s=draw(st.sampled_from([0.0, 1.0])),
        tail_timeout_s=draw(st.sampled_from([0.5, 2.0])),
        fallback_after_failures=draw(st.sampled_from([None, 1, 2])),
        poll_interval_s=draw(st.sampled_from([0.25, 2.0])),
        poll_wait_s=draw(st.sampled_from([0.0, 1.0])),
        request_timeout_s=draw(st.sampled_from([1.0, 3.0])),
        probe_interval_s=draw(st.sampled_from([0.5, 2.0])),
        probe_interval_max_s=4.0,
        outbox_messages_max=draw(st.integers(4, 8)),
        outbox_bytes_max=draw(st.sampled_from([10_000, 10_000, 10_000, 300])),
        outbox_age_max_s=draw(st.sampled_from([600.0, 600.0, 600.0, 2.0])),
        outbox_policy=draw(st.sampled_from(["reject_new", "drop_oldest", "conflate"])),
        unanswered_max=unanswered_max,
        retry_limit=draw(st.sampled_from([3, 0, 1])),
        retry_base_s=0.5,
        inbox_held_max=draw(st.sampled_from([1, 2])),
        ack_interval_s=0.5,
        ack_events=draw(st.integers(1, 3)),
        round_trip_samples_max=3,
        start=draw(st.sampled_from(["snapshot", "snapshot", "oldest", "head"])),
    )


@st.composite
def server_configs(draw: st.DrawFn) -> ServerConfig:
    """As above."""
    kept = draw(st.integers(5, 20))
    return ServerConfig(
        hello_timeout_s=draw(st.sampled_from([2.0, 5.0])),
        heartbeat_interval_s=draw(st.sampled_from([1.0, 3.0])),
        silence_max_s=draw(st.sampled_from([6.0, 10.0])),
        slow_reader_timeout_s=2.0,
        first_spread_s=draw(st.sampled_from([0.0, 1.0])),
        events_kept_max=kept,
        snapshot_interval_events=draw(st.integers(2, min(10, kept))),
        state_entries_max=draw(st.sampled_from([1000, 1000, 1000, 3])),
        batch_events_max=draw(st.integers(1, 4)),
        appends_pending_max=draw(st.sampled_from([kept, kept, 2, 5])),
        unanswered_max=draw(st.integers(1, 4)),
        publishes_per_s=draw(st.sampled_from([200.0, 200.0, 5.0])),
        publish_burst=draw(st.sampled_from([400, 400, 2])),
        clients_per_run_max=draw(st.sampled_from([100, 100, 100, 100, 2])),
        presence_grace_s=draw(st.sampled_from([0.0, 3.0])),
    )


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """A world to begin with: one to three clients, two of which may be tabs of one user."""
    return Setup(
        users=draw(st.sampled_from([("ann", "ben"), ("ann",), ("ann", "ann"), ("ann", "ann"), ("ann", "ben", "ann")])),
        client=draw(client_configs()),
        server=draw(server_configs()),
        chance=tuple(draw(st.lists(st.sampled_from([0.0, 0.5, 0.999]), min_size=1, max_size=4))),
        token_in_hello=draw(st.booleans()),
    )


NEWEST = -1
_few = st.integers(0, 4)
_sights = st.sampled_from(["now", "later", "never"])
_publishes = st.builds(
    steps.Publish,
    client=_few,
    event_type=st.sampled_from(["GRAFT", "PRUNE", "FLAG", "CHAT", "CHAT", "NEWER"]),
    key=st.integers(0, 2),
)
_calm = st.builds(steps.Calm, ms=st.sampled_from([5, 20, 600, 3000]))
_open_by_hand = st.builds(
    lambda opening, wire, count: [
        steps.UntilOpening(4),
        steps.Answer(opening, "open"),
        steps.Down(wire, 1),
        steps.Up(wire, 1),
        steps.CheckToken(),
        steps.Down(wire, count),
    ],
    opening=_few,
    wire=_few,
    count=st.integers(1, 3),
)
_late_answer = st.builds(lambda request: [steps.Http(request, "arrive"), steps.StallHttp(request, True)], request=_few)
_late_hello = st.builds(
    lambda wire, ms: [
        steps.Cut(wire, "now", "now"),
        steps.UntilOpening(8),
        steps.Answer(NEWEST, "open"),
        steps.Down(NEWEST, 1),
        steps.Cut(NEWEST, "now", "later"),
        steps.Stall(NEWEST, "up", True),
        steps.Calm(ms),
        steps.Up(NEWEST, 3),
    ],
    wire=_few,
    ms=st.sampled_from([5, 600, 3000]),
)
_flap = [
    steps.UntilOpening(8),
    steps.Answer(NEWEST, "open"),
    steps.Down(NEWEST, 1),
    steps.Cut(NEWEST, "now", "now"),
] * 3
_lost_batch = st.builds(
    lambda wire, lost, seen: [
        steps.Swallow(wire, 1),
        steps.Choke(wire, 1),
        *lost,
        steps.Calm(5),
        *seen,
        steps.Calm(5),
        steps.Choke(wire, 0),
        steps.Calm(5),
    ],
    wire=_few,
    lost=st.lists(_publishes, min_size=1, max_size=2),
    seen=st.lists(_publishes, min_size=1, max_size=6),
)
_fall_back = st.builds(lambda client: [steps.Block(client, True), steps.Calm(3000)], client=_few)
_KINDS: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    # How often, among all of them, and what.
    "calm": (12, _calm),
    "up": (8, st.builds(steps.Up, wire=_few, count=st.integers(1, 4))),
    "down": (8, st.builds(steps.Down, wire=_few, count=st.integers(1, 4))),
    "answer": (4, st.builds(steps.Answer, opening=_few, how=st.sampled_from(["open", "open", "refuse", "hang"]))),
    "http": (6, st.builds(steps.Http, request=_few, how=st.sampled_from(["arrive", "answer", "fail", "lose"]))),
    "stall": (5, st.builds(steps.Stall, wire=_few, direction=st.sampled_from(["up", "down"]), stalls=st.booleans())),
    "stall http": (5, st.builds(steps.StallHttp, request=_few, stalls=st.sampled_from([True, True, False]))),
    "copy": (2, st.builds(steps.Copy, request=_few)),
    "open by hand": (4, _open_by_hand),
    "late answer": (3, _late_answer),
    "fall back": (3, _fall_back),
    "late hello": (3, _late_hello),
    "flap": (2, st.just(_flap)),
    "lost batch": (4, _lost_batch),
    "store": (6, st.builds(steps.Store, count=st.integers(1, 3))),
    "check token": (2, st.builds(steps.CheckToken)),
    "next alarm": (4, st.builds(steps.NextAlarm, late_ms=st.sampled_from([0, 0, 1, 300]))),
    "wait": (
        4,
        st.builds(steps.Wait, ms=st.sampled_from([1, 100, 1000, 5000]), alarms=st.sampled_from(["exact", "late", "not yet"])),
    ),
    "publish": (4, _publishes),
    "publish many": (8, st.lists(_publishes, min_size=2, max_size=8)),
    "cursor": (2, st.builds(steps.MoveCursor, client=_few, at=st.integers(0, 3))),
    "hold": (2, st.builds(steps.Hold, client=_few, holds=st.booleans())),
    "join": (1, st.builds(steps.Join, user=_few)),
    "leave": (2, st.builds(steps.Leave, client=_few)),
    "cut": (8, st.builds(steps.Cut, wire=_few, client_sees=_sights, server_sees=_sights)),
    "block": (4, st.builds(steps.Block, client=_few, blocked=st.sampled_from([True, True, False]))),
    "crash": (3, st.builds(steps.Crash, stored=st.integers(0, 2), restarts=st.sampled_from([True, True, False]))),
    "restart": (3, st.builds(steps.Restart)),
    "store fails": (2, st.builds(steps.StoreFails, stored=st.integers(0, 2))),
    "lose history": (1, st.builds(steps.LoseHistory, kept=st.sampled_from([0, 1, 5, 100]))),
    "choke": (4, st.builds(steps.Choke, wire=_few, credit=st.integers(0, 2))),
    "too slow": (1, st.builds(steps.TooSlow, wire=_few)),
    "go away": (
        1,
        st.builds(steps.GoAway, retry_after_ms=st.sampled_from([0, 500, 3000]), spread_ms=st.sampled_from([0, 1000])),
    ),
}


@st.composite
def schedules(draw: st.DrawFn, long: int = 30) -> list[steps.Step]:
    """Lists of steps: about as much traffic as faults, and time in between. Most are about `long` parts, and shrink to none.

    Each schedule has kinds of steps that it leaves out and one that it prefers (swarm testing): a world that polls all day and
    whose history is lost twice is rare when everything may happen at any time, and common this way.
    """
    left_out = draw(st.lists(st.sampled_from(sorted(_KINDS)), max_size=10))
    preferred = draw(st.sampled_from(sorted(_KINDS)))
    weighed = [kind for kind, (weight, _) in _KINDS.items() if kind not in left_out for _ in range(weight)]
    weighed += [preferred] * 12
    part = st.sampled_from(weighed).flatmap(lambda kind: _KINDS[kind][1])
    # A least length of its own is what makes Hypothesis draw long lists; it is the first thing that shrinking gives up.
    least = draw(st.sampled_from([0, long // 2, long, long]))
    parts = draw(st.lists(part, min_size=least, max_size=2 * long))
    return [step for part in parts for step in (part if isinstance(part, list) else [part])]


def play(setup: Setup, schedule: Sequence[steps.Step], *, judge_end: bool = True) -> list[Broken]:
    """Play a schedule, then let the faults stop, and say which guarantees were broken."""
    world = World(setup)
    for step in schedule:
        step.do(world)
    if judge_end:
        settle(world)
    return world.journal.broken


def settle(world: World) -> None:
    """Faults stop: whatever is dead stays dead, but all that is new works. Then judge G6 and the rest."""
    _stop_faults(world)
    journal, client, server = world.journal, world.setup.client, world.setup.server
    bound_s = recovery_bound_s(client, WAIT_MAX_S + GO_AWAY_MAX_S, 0.1)
    slack_s = client.poll_interval_s + client.poll_wait_s + 1.0
    if not _calm_until(world, bound_s - slack_s, _is_connected):
        assert world.server.run is not None
        head_then = world.server.run.head
        world.calm(slack_s)
        for session in [host.session for host in world.present]:
            epoch, last = session.position
            if not session.state.is_connected or epoch != world.server.run.epoch or last < head_then:
                where = f"{session.client_id} is {session.state.value} at {session.position}"
                journal.note(
                    "G6", f"{where} {bound_s:g} s after the last fault; the run is at {(world.server.run.epoch, head_then)}"
                )
    # What may take longer: a probe behind polling, retries of publishes, the grace of those who went away.
    longer_s = 2 * client.probe_interval_max_s + bound_s + 20.0 + server.presence_grace_s + server.silence_max_s
    _calm_until(world, longer_s, _is_settled)
    world.calm(AFTERWARDS_S)
    _judge_rest(world)
    journal.finish(host.view for host in world.hosts)


def _stop_faults(world: World) -> None:
    if world.server.run is None:
        world.server.restart()
    for host in world.hosts:
        host.blocked = False
        host.session.release_events(world.now)
        host.pump()
    for wire in world.wires:
        wire.credit = None
        wire.up_is_stalled = wire.down_is_stalled = False
        wire.swallows = 0
    for request in world.requests:
        request.is_stalled = False
    world.ring()
    world.server.pump()


def _calm_until(world: World, most_s: float, is_reached: Callable[[World], bool]) -> bool:
    """A calm of at most `most_s`, second by second. Returns whether it was cut short."""
    until = world.now + ns(most_s)
    while world.now < until:
        world.calm(min(1.0, (until - world.now) / NS_PER_S))
        if is_reached(world):
            return True
    return False


def _is_connected(world: World) -> bool:
    """Everyone is connected and at the head, as G6 asks for within the bound."""
    assert world.server.run is not None
    place = (world.server.run.epoch, world.server.run.head)
    return all(session.state.is_connected and session.position == place for session in [host.session for host in world.present])


def _is_settled(world: World) -> bool:
    """Nothing is left to come right."""
    assert world.server.run is not None
    sessions = [host.session for host in world.present]
    users = tuple(sorted({host.user for host in world.present}))
    quiet = not world.server.appends and all(session.queued_messages == 0 for session in sessions)
    alike = all(session.active_users == users for session in sessions) and world.server.run.active_users == users
    return quiet and alike and _is_connected(world) and all(session.state.value == "live" for session in sessions)


def _judge_rest(world: World) -> None:
    run, journal = world.server.run, world.journal
    assert run is not None
    for session in [host.session for host in world.present]:
        if session.state.value != "live":
            journal.note("G6", f"{session.client_id} has not come back to WebSocket: it is {session.state.value}")
        if session.position != (run.epoch, run.head):
            journal.note("G6", f"{session.client_id} rests at {session.position}; the head is {run.head}")
        if session.active_users != run.active_users:
            journal.note("G12", f"{session.client_id} sees {session.active_users}; present are {run.active_users}")
        if session._receiving.roster._cursors != run._attendance.cursors:
            journal.note("G12", f"{session.client_id} sees other cursors than the server does")
    users = tuple(sorted({host.user for host in world.present}))
    if run.active_users != users:
        journal.note("G12", f"the server sees {run.active_users} long after; present are {users}")
