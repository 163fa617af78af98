"""Parity over drawn schedules of faults, so that it does not depend on scenarios chosen by hand.

Two kinds of ties cannot be had away in drawn schedules (docs/parity.md): when a line comes back, everything that waited on
several connections of one client arrives in one instant; and a polling client may poll and publish in the same instant. So
clients that stay on WebSocket meet every fault and all worlds must agree at once; clients that poll meet the faults that hold
nothing back, and trio must tell under one of a few schedules what the others tell, or what the bare machines tell with alarms
first.

Of a failure the smallest scenario is left in a file, and the message has the command that plays it again in all three worlds and
shows where they part.
"""

import msgspec
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from reference.protocol.config import ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.scenario import Scenario, ServerPart
from tests.properties.judging import left

from .comparison import differences
from .play import PATIENT, QUICK, SCHEDULES_MAX, Played, play_everywhere, scenario_of

FEW = 4
EXAMPLES_MAX = settings.default.max_examples if settings.default.max_examples > 50 else FEW
HORIZON_S = 12.0
_TIMES = st.integers(0, 12_000_000).map(lambda us: us / 1_000_000)
_DURATIONS = st.one_of(st.integers(10, 300), st.integers(300, 15_000)).map(lambda ms: ms / 1000)
_CLIENTS = st.sampled_from([("ada",), ("ben",), ("ada", "ben")])


def _faults(*kinds: type) -> st.SearchStrategy[Fault]:
    return st.one_of([_fault(kind) for kind in kinds])


def _fault(kind: type) -> st.SearchStrategy[Fault]:
    fields = {"at_s": _TIMES}
    if kind not in (Reset, HalfOpen):
        fields["duration_s"] = _DURATIONS
    if kind is not ServerRestart:
        fields["clients"] = _CLIENTS
    if kind in (Outage, HalfOpen):
        fields["direction"] = st.sampled_from(["both", "up", "down"])
    if kind is BlockUpgrade:
        fields["how"] = st.sampled_from(["block", "strip", "hang"])
    return st.builds(kind, **fields)


@st.composite
def _servers(draw: st.DrawFn) -> ServerPart:
    """With the usual limits, or a window that a short absence outlives and room for a few events; commits that are quick, or long
    enough to be met by everything else. Ties are kept out: commit times are no divisors of the server's intervals, and server and
    client do not wait equally long for a greeting."""
    kept = draw(st.sampled_from([1000, 1000, 5, 20]))
    config = ServerConfig(
        events_kept_max=kept, appends_pending_max=kept, snapshot_interval_events=min(kept, 500), hello_timeout_s=9.1
    )
    return ServerPart(config=config, commit_time_s=draw(st.sampled_from([0.002, 0.002, 0.0471, 0.3137])))


@st.composite
def scenarios(draw: st.DrawFn, *kinds: type, polls: bool) -> Scenario:
    config = msgspec.structs.replace(
        QUICK,
        fallback_after_failures=draw(st.integers(1, 3)) if polls else None,
        poll_wait_s=draw(st.sampled_from([0.0, 3.7])) if polls else 0.0,
        probe_interval_s=draw(st.sampled_from([2.0, 5.0])),
        start=draw(st.sampled_from(["snapshot", "oldest", "head"])),
    )
    policy = PATIENT if polls else FullJitter()
    faults = draw(st.lists(_faults(*kinds), min_size=1, max_size=4, unique_by=lambda fault: fault.at_s))
    seed = draw(st.integers(0, 1000))
    scenario = scenario_of(*faults, seed=seed, horizon_s=HORIZON_S, settle_s=10.0, config=config, policy=policy)
    return scenario.replace(server=draw(_servers()))


def judge(test: str, scenario: Scenario, *, schedules_max: int = 1) -> Played:
    try:
        return play_everywhere(scenario, schedules_max=schedules_max)
    except AssertionError as error:
        text = f"{error}\nsee it: python -m tests.parity.replay {left(test, scenario.to_toml())}"
        raise AssertionError(text) from None


@settings(max_examples=EXAMPLES_MAX)
@given(scenarios(Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart, polls=False))
def test_drawn_faults_on_websockets(scenario: Scenario) -> None:
    judge("test_drawn_faults_on_websockets", scenario)


@settings(max_examples=EXAMPLES_MAX)
@example(  # what still came on a probe that the client had left was reported by the shell, and not by the simulator
    scenario_of(
        Refuse(at_s=0.1, duration_s=1.736),
        seed=44,
        horizon_s=HORIZON_S,
        settle_s=10.0,
        config=msgspec.structs.replace(QUICK, fallback_after_failures=1, probe_interval_s=2.0, start="oldest"),
        policy=PATIENT,
    )
)
@given(scenarios(Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart, polls=True))
def test_drawn_faults_on_clients_that_fall_back(scenario: Scenario) -> None:
    simulated = judge("test_drawn_faults_on_clients_that_fall_back", scenario, schedules_max=SCHEDULES_MAX).simulated
    event(f"requests over HTTP: {any(type(seen.frame).__name__ == 'PollRequest' for seen in simulated.frames_seen)}")


def test_an_answer_that_arrives_when_a_poll_is_due_is_a_tie() -> None:
    """A poll and a cursor once left together, so the answer to the next cursor arrives in the instant of the next poll. On trio
    the poll is sent first under every schedule, elsewhere after what the answer brings; the bare machines tell both."""
    config = msgspec.structs.replace(QUICK, fallback_after_failures=2, poll_wait_s=3.7, probe_interval_s=5.0, start="oldest")
    blocked = BlockUpgrade(at_s=0.131072, duration_s=12.897, clients=("ben",))
    scenario = scenario_of(blocked, seed=884, horizon_s=HORIZON_S, settle_s=10.0, config=config, policy=PATIENT)
    played = judge("test_an_answer_that_arrives_when_a_poll_is_due", scenario, schedules_max=2)
    assert played.tied is not None
    assert differences(played.simulated, played.real)
