"""Strategies for the adversarial world: its setup, and schedules of steps."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from reference.protocol.policies.keepalive import NoPings
from reference.protocol.records import ANSWERS_KEPT
from simulation.adversary import steps
from simulation.adversary.ground import POLICY, Setup
from simulation.testing.directed_steps import PLOTS, few, publishes
from simulation.testing.policies import fallbacks, heartbeats, reconnect_policies
from simulation.testing.small_configs import client_configs, server_configs


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """The setup of a world: one to three clients, two of which may be tabs of one user; half of them with policies of other
    systems."""
    client, server, heartbeat = draw(client_configs()), draw(server_configs()), draw(st.none() | heartbeats())
    if client.unanswered_max == ANSWERS_KEPT and draw(st.booleans()):  # else the server's smaller window stands
        server = msgspec.structs.replace(server, unanswered_max=ANSWERS_KEPT, frames_per_s=1000.0, frame_burst=2000)
    if isinstance(heartbeat, NoPings):
        server = msgspec.structs.replace(server, silence_max_s=600.0, heartbeat_interval_s=3.0)
    return Setup(
        users=draw(st.sampled_from([("ann", "ben"), ("ann",), ("ann", "ann"), ("ann", "ann"), ("ann", "ben", "ann")])),
        client=client,
        policy=draw(st.just(POLICY) | reconnect_policies()),
        fallback=draw(st.none() | st.none() | fallbacks()),
        heartbeat=heartbeat,
        server=server,
        kept_later=draw(st.sampled_from([None, None, None, 1, 3])),
        chance=tuple(draw(st.lists(st.sampled_from([0.0, 0.5, 0.999]), min_size=1, max_size=4))),
        token_in_hello=draw(st.booleans()),
        token_life_s=draw(st.sampled_from([None, None, None, 2.0, 10.0])),
    )


_sights = st.sampled_from(["now", "later", "never"])
_calm = st.builds(steps.Calm, ms=st.sampled_from([5, 20, 600, 3000]))
_KINDS: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    # How often, among all of them, and what.
    "calm": (12, _calm),
    "up": (8, st.builds(steps.Up, wire=few, count=st.integers(1, 4))),
    "down": (8, st.builds(steps.Down, wire=few, count=st.integers(1, 4))),
    "answer": (4, st.builds(steps.AnswerUpgrade, opening=few, how=st.sampled_from(["open", "open", "refuse", "hang"]))),
    "turn away": (
        2,
        st.builds(
            steps.TurnAway,
            what=st.sampled_from(["opening", "request"]),
            which=few,
            retry_after_ms=st.sampled_from([0, 500, 3000]),
        ),
    ),
    "http": (6, st.builds(steps.Http, request=few, how=st.sampled_from(["arrive", "answer", "fail", "lose"]))),
    "stall": (5, st.builds(steps.StallConnection, wire=few, direction=st.sampled_from(["up", "down"]), stalls=st.booleans())),
    "stall http": (5, st.builds(steps.StallHttp, request=few, stalls=st.sampled_from([True, True, False]))),
    "copy": (2, st.builds(steps.Copy, request=few)),
    "store": (6, st.builds(steps.Store, count=st.integers(1, 3))),
    "check token": (2, st.builds(steps.CheckToken)),
    "next alarm": (4, st.builds(steps.NextAlarm, late_ms=st.sampled_from([0, 0, 1, 300]))),
    "wait": (
        4,
        st.builds(steps.WaitFor, ms=st.sampled_from([1, 100, 1000, 5000]), alarms=st.sampled_from(["exact", "late", "not yet"])),
    ),
    "publish": (4, publishes),
    "publish many": (8, st.lists(publishes, min_size=2, max_size=8)),
    "cursor": (2, st.builds(steps.MoveCursor, client=few, at=st.integers(0, 3))),
    "hold": (2, st.builds(steps.Hold, client=few, holds=st.booleans())),
    "join": (1, st.builds(steps.Join, user=few)),
    "leave": (2, st.builds(steps.Leave, client=few)),
    "cut": (8, st.builds(steps.Cut, wire=few, client_sees=_sights, server_sees=_sights)),
    "block": (4, st.builds(steps.Block, client=few, blocked=st.sampled_from([True, True, False]))),
    "crash": (3, st.builds(steps.Crash, stored=st.integers(0, 2), restarts=st.sampled_from([True, True, False]))),
    "restart": (3, st.builds(steps.Restart)),
    "store fails": (2, st.builds(steps.StoreFails, stored=st.integers(0, 2))),
    "lose history": (1, st.builds(steps.LoseHistory, kept=st.sampled_from([0, 1, 5, 100]))),
    "choke": (4, st.builds(steps.Choke, wire=few, credit=st.integers(0, 2))),
    "trickle": (2, st.builds(steps.Trickle, wire=few)),
    "trespass": (2, st.builds(steps.TrespassOn, client=few, how=st.sampled_from(["websocket", "poll", "publish"]))),
    "too slow": (1, st.builds(steps.TooSlow, wire=few)),
    "step clock": (1, st.builds(steps.StepClock, ms=st.sampled_from([1, 700, 5000, 60_000, -1, -5000, -60_000]))),
    "go away": (
        1,
        st.builds(steps.GoAway, retry_after_ms=st.sampled_from([0, 500, 3000]), spread_ms=st.sampled_from([0, 1000])),
    ),
    **PLOTS,
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
    schedule: list[steps.Step] = []
    for drawn in parts:
        schedule += drawn if isinstance(drawn, list) else [drawn]
    return schedule
