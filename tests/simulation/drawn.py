"""Scenarios drawn by Hypothesis: small, hostile, and with time enough at the end for everyone to come back."""

from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.faults import BlockUpgrade, Fault, HalfOpen, Outage, Path, Refuse, Reset, ServerRestart, Stall
from simulation.scenario import ClientPart, FullJitterPolicy, Group, Scenario, ServerPart, Workload

HORIZON_S = 20.0
CLIENTS_MAX = 4

_times = st.integers(0, 200).map(lambda tenths: tenths / 10)
_durations = st.integers(0, 250).map(lambda tenths: tenths / 10)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    return Path(
        latency_s=draw(st.sampled_from([0.0, 0.001, 0.02, 0.3])),
        jitter_s=draw(st.sampled_from([0.0, 0.05])),
        bandwidth_bytes_per_s=draw(st.sampled_from([None, None, 20_000.0])),
    )


@st.composite
def faults(draw: st.DrawFn, names: tuple[str, ...]) -> Fault:
    kind = draw(st.sampled_from([Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart]))
    at_s = draw(_times)
    clients = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)).map(tuple))
    if kind is ServerRestart:
        return ServerRestart(at_s=at_s, duration_s=draw(_durations))
    if kind in (Reset, HalfOpen):
        return kind(at_s=at_s, clients=clients)
    return kind(at_s=at_s, clients=clients, duration_s=draw(_durations))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    clients = draw(st.integers(1, CLIENTS_MAX))
    group = Group(name="c", clients=clients, path=draw(paths()))
    config = ClientConfig(
        start=draw(st.sampled_from(["snapshot", "snapshot", "oldest", "head"])),
        fallback_after_failures=draw(st.sampled_from([1, 2, 5, None])),
        poll_wait_s=draw(st.sampled_from([0.0, 0.0, 5.0])),
        poll_interval_s=draw(st.sampled_from([0.5, 2.0])),
        connect_timeout_s=draw(st.sampled_from([3.0, 10.0])),
        ping_interval_s=draw(st.sampled_from([2.0, 10.0])),
        ping_timeout_s=draw(st.sampled_from([3.0, 10.0])),
        probe_interval_s=draw(st.sampled_from([2.0, 15.0])),
        probe_interval_max_s=20.0,
        unanswered_max=draw(st.sampled_from([1, 4, 64])),
        retry_limit=draw(st.sampled_from([3, 1000])),
    )
    events_kept_max = draw(st.sampled_from([20, 1000]))
    server = ServerConfig(
        events_kept_max=events_kept_max,
        snapshot_interval_events=draw(st.sampled_from([5, 20])),
        batch_events_max=draw(st.sampled_from([1, 7, 256])),
        heartbeat_interval_s=draw(st.sampled_from([3.0, 15.0])),
        presence_grace_s=draw(st.sampled_from([0.0, 30.0])),
        appends_pending_max=draw(st.sampled_from([2, events_kept_max])),
    )
    # More work than a window of one, a store with room for two, a thin line or a small buffer can carry would still be on its
    # way at the end.
    send_buffer_bytes = draw(st.sampled_from([4000, 256 * 1024]))
    is_narrow = config.unanswered_max < 64 or server.appends_pending_max == 2
    commit_time_s = draw(st.sampled_from([0.0, 0.002, 0.5]))
    is_slow_store = commit_time_s == 0.5 and server.appends_pending_max <= 20
    is_thin = send_buffer_bytes == 4000 or group.path.bandwidth_bytes_per_s is not None or is_slow_store
    rate = draw(st.sampled_from([0.1] if is_narrow else [0.1, 1.0] if is_thin else [0.1, 1.0, 5.0]))
    return Scenario(
        name="drawn",
        seed=draw(st.integers(0, 1000)),
        horizon_s=HORIZON_S,
        groups=(group,),
        workload=Workload(
            graft_per_s=rate,
            prune_per_s=rate / 2,
            flag_per_s=rate / 5,
            chat_per_s=rate,
            cursor_per_s=draw(st.sampled_from([0, 2])),
        ),
        faults=tuple(draw(st.lists(faults(group.client_names), max_size=5))),
        server=ServerPart(
            config=server,
            commit_time_s=commit_time_s,
            send_buffer_bytes=send_buffer_bytes,
        ),
        client=ClientPart(config=config, policy=FullJitterPolicy(cap_s=draw(st.sampled_from([1.0, 5.0])))),
    )
