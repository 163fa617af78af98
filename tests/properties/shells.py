"""The shipped shells in a drawn scenario, and the trace that they leave (depth c)."""

from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.session_trace import trace_started
from simulation.checks.checkers import check
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.paths import Path
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart, Workload
from simulation.trace.trace import Trace
from tests.parity import trio_world

RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"
HORIZON_S = 8.0
_TIMES = st.integers(0, 80).map(lambda tenths: tenths / 10)
_DURATIONS = st.integers(1, 120).map(lambda tenths: tenths / 10)
_WHOM = st.sampled_from([(), ("ada",), ("ben",)])


@st.composite
def _faults(draw: st.DrawFn) -> Fault:
    at_s, clients = draw(_TIMES), draw(_WHOM)
    kind = draw(st.sampled_from([Reset, HalfOpen, Outage, Stall, Refuse, BlockUpgrade, ServerRestart]))
    if kind in (Reset, HalfOpen):
        return kind(at_s=at_s, clients=clients)
    if kind is ServerRestart:
        return ServerRestart(at_s=at_s, duration_s=draw(_DURATIONS))
    return kind(at_s=at_s, clients=clients, duration_s=draw(_DURATIONS))


@st.composite
def scenarios_for_shells(draw: st.DrawFn) -> Scenario:
    """Two clients, short times, small limits, and a few faults; long enough after them for everyone to be back (G6)."""
    unanswered_max = draw(st.sampled_from([2, 64]))
    config = ClientConfig(
        connect_timeout_s=3.0,
        ping_interval_s=2.0,
        ping_timeout_s=2.0,
        request_timeout_s=3.0,
        fallback_after_failures=draw(st.sampled_from([1, 3, None])),
        poll_wait_s=draw(st.sampled_from([0.0, 3.0])),
        probe_interval_s=draw(st.sampled_from([2.0, 5.0])),
        probe_interval_max_s=10.0,
        start=draw(st.sampled_from(["snapshot", "oldest"])),
        unanswered_max=unanswered_max,
        outbox_messages_max=draw(st.sampled_from([unanswered_max, 1000])),
        retry_limit=1000,
    )
    kept = draw(st.sampled_from([20, 1000]))
    server = ServerConfig(
        events_kept_max=kept,
        appends_pending_max=draw(st.sampled_from([2, kept])),
        snapshot_interval_events=10,
        heartbeat_interval_s=3.0,
        silence_max_s=8.0,
    )
    rate = draw(st.sampled_from([0.2, 1.0]))
    return Scenario(
        name="shells",
        seed=draw(st.integers(0, 1000)),
        horizon_s=HORIZON_S,
        groups=(Group(name="ada", path=Path(latency_s=0.0213)), Group(name="ben", path=Path(latency_s=0.0347))),
        workload=Workload(graft_per_s=rate, prune_per_s=rate / 2, flag_per_s=rate / 5, chat_per_s=rate, cursor_per_s=rate),
        faults=tuple(draw(st.lists(_faults(), max_size=4))),
        server=ServerPart(config=server, commit_time_s=draw(st.sampled_from([0.002, 0.05]))),
        client=ClientPart(config=config, policy=FullJitter(cap_s=2.0)),
    )


def trace_of(scenario: Scenario) -> Trace:
    """What real shells tell of it."""
    transcript = trio_world.play(scenario, RUN_ID, "epoch-1")
    trace = Trace(
        [
            trace_started(
                world="real",
                seed=scenario.seed,
                run_id=RUN_ID,
                client=scenario.client.config,
                server=scenario.server.config,
                wait_max_s=2.25,
                round_trip_max_s=scenario.round_trip_max_s,
            )
        ]
    )
    for record in transcript.records:
        trace.add(record)
    return trace


EXERCISES_ALL = Scenario(
    name="exercises_all",
    horizon_s=HORIZON_S,
    groups=(Group(name="ada", path=Path(latency_s=0.0213)), Group(name="ben", path=Path(latency_s=0.0347))),
    workload=Workload(graft_per_s=1.0, prune_per_s=0.5, flag_per_s=0.2, chat_per_s=1.0, cursor_per_s=1.0),
    faults=(
        Outage(at_s=1.5, duration_s=6.0, clients=("ada",)),
        Reset(at_s=2.5, clients=("ben",)),
        BlockUpgrade(at_s=3.0, duration_s=2.5, clients=("ben",)),
        ServerRestart(at_s=6.5, duration_s=0.5),
    ),
    server=ServerPart(
        config=ServerConfig(
            events_kept_max=10, appends_pending_max=2, snapshot_interval_events=5, heartbeat_interval_s=3.0, silence_max_s=8.0
        ),
        commit_time_s=0.3,
    ),
    client=ClientPart(
        config=ClientConfig(
            connect_timeout_s=3.0,
            ping_interval_s=2.0,
            ping_timeout_s=2.0,
            request_timeout_s=3.0,
            fallback_after_failures=1,
            probe_interval_s=2.0,
            probe_interval_max_s=10.0,
            unanswered_max=3,
            outbox_messages_max=4,
            retry_limit=1000,
        ),
        policy=FullJitter(cap_s=2.0),
    ),
)
"""Something for every checker to look at: an outage that fills an outbox and outlives the window, a takeover, a fallback and the
way back, a kill after events were accepted."""


def judge_everything(scenario: Scenario) -> None:
    """Every guarantee at once."""
    broken = [f"{name}: {text}" for name, verdict in check(trace_of(scenario)).items() for text in verdict.violations]
    assert not broken, broken[0]
