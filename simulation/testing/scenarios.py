"""Strategies for scenarios: small, with many faults, and with enough time at the end for every client to recover."""

import math
from functools import lru_cache
from typing import Literal

import msgspec
from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.reconnect import FullJitter
from simulation.scenario.distributions import Constant, Distribution
from simulation.scenario.drawn_faults import DrawnFaults
from simulation.scenario.faults import (
    BackgroundTab,
    BlockUpgrade,
    ClockStep,
    Direction,
    DnsFailure,
    Failover,
    Fault,
    HalfOpen,
    LoadBalancerCut,
    NetworkChange,
    Outage,
    Path,
    Pause,
    Refuse,
    Reset,
    RollingDeploy,
    ServerFault,
    ServerRestart,
    SlowStore,
    Stall,
    Suspend,
)
from simulation.scenario.paths import BernoulliLoss, Dns, FadingLoss, GilbertElliottLoss, Loss, PortPool
from simulation.scenario.presets import PRESETS, SHIPPED, PresetPolicy
from simulation.scenario.scenario import Capacity, ClientPart, Group, Region, Scenario, ServerPart, Shedding, longest_wait_s
from simulation.testing.networks import rich_paths
from simulation.testing.policies import MANY_FAILURES, fallbacks, heartbeats, reconnect_policies
from simulation.testing.populations import arrivals, availabilities, distributions, stays, workloads
from simulation.trace.trace import Trace
from simulation.world import run

HORIZON_S = 20.0
CLIENTS_MAX = 4

_times = st.integers(0, 200).map(lambda tenths: tenths / 10)
_durations = st.integers(0, 250).map(lambda tenths: tenths / 10)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Paths between a client and the server: local, cable, radio; some slow, some with occasional loss."""
    return Path(
        latency_s=draw(st.sampled_from([0.0, 0.001, 0.02, 0.3])),
        jitter_s=draw(st.sampled_from([0.0, 0.05])),
        bandwidth_bytes_per_s=draw(st.sampled_from([None, None, 20_000.0])),
        delay=draw(st.none() | st.none() | distributions(0.001, 0.02)),
        recorded_latency=draw(st.sampled_from([(), (), ((0.0, 0.01), (3.0, 0.2), (5.0, 0.05))])),
        loss=draw(st.none() | st.none() | losses()),
    )


def losses() -> st.SearchStrategy[Loss]:
    """Random or bursty packet loss; rare."""
    return st.one_of(
        st.sampled_from([0.0, 0.01, 0.05]).map(lambda probability: BernoulliLoss(probability=probability)),
        st.sampled_from([0.005, 0.02]).map(lambda p: GilbertElliottLoss(good_to_bad=p, bad_to_good=0.5)),
        st.sampled_from([60.0, 300.0]).map(lambda bad_ms: FadingLoss(good_ms=3000.0, bad_ms=bad_ms)),
    )


@st.composite
def server_faults(draw: st.DrawFn) -> Fault:
    """One fault of the server; a deploy needs instances."""
    at_s, duration_s = draw(_times), draw(_durations)
    match draw(st.sampled_from(["kill", "stop", "loss", "deploy", "pause", "slow store", "clock"])):
        case "kill":
            return ServerRestart(at_s=at_s, duration_s=duration_s)
        case "stop":
            return ServerRestart(at_s=at_s, duration_s=duration_s, is_graceful=True)
        case "loss":
            return ServerRestart(at_s=at_s, duration_s=duration_s, loses_state=True)
        case "deploy":
            return RollingDeploy(at_s=at_s, duration_s=duration_s + 1.0, is_graceful=draw(st.booleans()))
        case "pause":
            return Pause(at_s=at_s, duration_s=duration_s)
        case "slow store":
            return SlowStore(at_s=at_s, duration_s=duration_s, factor=draw(st.sampled_from([1.0, 3.0, 10.0])))
        case _:
            return ClockStep(at_s=at_s, step_s=draw(st.sampled_from([-100.0, 5.0])))


@st.composite
def capacities(draw: st.DrawFn) -> Capacity | None:
    """None, or a machine that a few clients keep busy but do not overload."""
    if draw(st.booleans()):
        return None

    def cost(*choices_s: float) -> Distribution:
        mean_s = draw(st.sampled_from(choices_s))
        return draw(distributions(mean_s)) if mean_s and draw(st.booleans()) else Constant(value=mean_s)

    return Capacity(
        processors=draw(st.sampled_from([1, 1, 3])),
        accepts_per_s=draw(st.sampled_from([None, 2.0])),
        accept_backlog_max=draw(st.sampled_from([1, 4096])),
        handshake_cost=cost(0.0, 0.02, 0.2),
        authentication_cost=cost(0.0, 0.02, 0.2),
        frame_cost=cost(0.0, 0.0002),
        delivery_cost=cost(0.0, 0.0001, 0.001),
        replay_event_cost=cost(0.0, 0.001),
        shedding=draw(st.sampled_from([None, Shedding(queue_wait_max_s=0.1, retry_after_s=1.0, spread_s=2.0)])),
    )


@st.composite
def faults(draw: st.DrawFn, names: tuple[str, ...]) -> Fault:
    """One fault of links that affects some of these clients, or everyone."""
    at_s = draw(_times)
    clients = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)).map(tuple))
    directions: st.SearchStrategy[Direction] = st.sampled_from(("both", "up", "down"))
    match draw(st.sampled_from(["reset", "half open", "outage", "stall", "refuse", "block upgrade", "load balancer"])):
        case "reset":
            return Reset(at_s=at_s, clients=clients)
        case "half open":
            return HalfOpen(at_s=at_s, clients=clients, direction=draw(directions))
        case "outage":
            return Outage(at_s=at_s, clients=clients, duration_s=draw(_durations), direction=draw(directions))
        case "load balancer":
            return LoadBalancerCut(
                at_s=at_s, clients=clients, duration_s=draw(_durations), share=draw(st.sampled_from([1.0, 0.5]))
            )
        case "stall":
            return Stall(at_s=at_s, clients=clients, duration_s=draw(_durations))
        case "refuse":
            return Refuse(at_s=at_s, clients=clients, duration_s=draw(_durations))
        case _:
            how: Literal["block", "strip", "hang"] = draw(st.sampled_from(("block", "strip", "hang")))
            return BlockUpgrade(at_s=at_s, clients=clients, duration_s=draw(_durations), how=how)


@st.composite
def device_faults(draw: st.DrawFn, names: tuple[str, ...]) -> Fault:
    """One fault of the devices of some of these clients, or of everyone's, or of the server's name and address."""
    at_s, duration_s = draw(_times), draw(_durations)
    clients = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)).map(tuple))
    match draw(st.sampled_from(["sleep", "tab", "network", "failover"])):
        case "sleep":
            clock: Literal["counts", "stops"] = draw(st.sampled_from(("counts", "stops")))
            return Suspend(at_s=at_s, clients=clients, duration_s=duration_s, clock=clock)
        case "tab":
            every_s = draw(st.sampled_from([1.0, 7.0]))
            return BackgroundTab(at_s=at_s, clients=clients, duration_s=duration_s, timers_every_s=every_s)
        case "network":
            gap_s, path = draw(st.sampled_from([0.0, 2.0])), draw(st.none() | st.just(Path(latency_s=0.1)))
            return NetworkChange(at_s=at_s, clients=clients, duration_s=gap_s, is_notified=draw(st.booleans()), path=path)
        case _:
            old: Literal["silent", "refuses"] = draw(st.sampled_from(("silent", "refuses")))
            return Failover(at_s=at_s, duration_s=duration_s, old_address=old)


@st.composite
def dns_failures(draw: st.DrawFn, names: tuple[str, ...]) -> Fault:
    """A time in which some of these clients, or everyone, resolve no name; a scenario with it needs a path with DNS."""
    clients = draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names)).map(tuple))
    how: Literal["timeout", "error"] = draw(st.sampled_from(("timeout", "error")))
    return DnsFailure(at_s=draw(_times), clients=clients, duration_s=draw(_durations), how=how)


def _any_fault(names: tuple[str, ...], *, resolves: bool) -> st.SearchStrategy[Fault]:
    kinds = faults(names) | server_faults() | device_faults(names)
    return kinds | dns_failures(names) if resolves else kinds


def fault_schedules(
    names: tuple[str, ...], faults_max: int = 5, *, resolves: bool = False
) -> st.SearchStrategy[tuple[Fault, ...]]:
    """Several faults, of lines, of devices and of a server with instances, which may overlap; of names, too, if some client
    `resolves` the server's."""
    return st.lists(_any_fault(names, resolves=resolves), max_size=faults_max).map(tuple)


@st.composite
def drawn_fault_schedules(draw: st.DrawFn, names: tuple[str, ...], *, resolves: bool = False) -> tuple[DrawnFaults, ...]:
    """Faults that the run draws itself, again and again: one or two kinds of them, some seconds apart."""
    found: list[DrawnFaults] = []
    for fault in draw(st.lists(_any_fault(names, resolves=resolves), min_size=1, max_size=2)):
        hits_everyone = isinstance(fault, ServerFault | Failover)
        process = DrawnFaults(
            name=f"drawn_{len(found)}",
            fault=fault,
            every=draw(distributions(3.0, 8.0)),
            duration=draw(st.none() | distributions(0.5, 2.0)) if hasattr(fault, "duration_s") else None,
            share=1.0 if hits_everyone else draw(st.sampled_from([1.0, 0.5])),
            times=draw(st.sampled_from([1, 3])),
        )
        found.append(process)
    return tuple(found)


def regions(groups: tuple[str, ...]) -> st.SearchStrategy[Region]:
    """Some of these groups, which go down together."""
    return st.builds(
        Region,
        name=st.just("region"),
        groups=st.lists(st.sampled_from(groups), min_size=1, unique=True).map(tuple),
        availability=availabilities().map(lambda availability: msgspec.structs.replace(availability, scope="shared")),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A few clients, their workload and their faults; no more work than the generated limits let through in time."""
    groups = tuple(draw(_groups(name, paths())) for name in draw(st.sampled_from(["c", "c", "cd"])))
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
        refreshes_token=True,
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
    # More work than a window of one, a store with room for two, a slow path or a small buffer can carry would still be under way
    # at the end.
    send_buffer_bytes = draw(st.sampled_from([4000, 256 * 1024]))
    is_narrow = config.unanswered_max < 64 or server.appends_pending_max == 2
    commit_time_s = draw(st.sampled_from([0.0, 0.002, 0.5]))
    is_slow_store = commit_time_s == 0.5 and server.appends_pending_max <= 20
    is_thin = send_buffer_bytes == 4000 or is_slow_store or any(_is_thin(group.path) for group in groups)
    rates_per_s = (0.1,) if is_narrow else (0.1, 1.0) if is_thin else (0.1, 1.0, 5.0)
    bytes_max = 300 if is_thin or is_narrow else 2000
    heartbeat = draw(st.none() | st.none() | heartbeats(quiet_max_s=20.0, beat_s=server.heartbeat_interval_s))
    names = tuple(name for group in groups for name in group.client_names)
    resolves = any(group.path.dns is not None for group in groups)
    of_regions = regions(tuple(group.name for group in groups)).map(lambda region: (region,))
    return Scenario(
        name="drawn",
        seed=draw(st.integers(0, 1000)),
        horizon_s=HORIZON_S,
        groups=groups,
        availability=draw(st.none() | st.none() | st.none() | availabilities()),
        workload=draw(workloads(rates_per_s, bytes_max)),
        regions=draw(st.just(()) | st.just(()) | st.just(()) | of_regions),
        faults=draw(fault_schedules(names, resolves=resolves)),
        drawn_faults=draw(st.just(()) | st.just(()) | st.just(()) | drawn_fault_schedules(names, resolves=resolves)),
        server=ServerPart(
            config=server,
            commit_time_s=commit_time_s,
            commit_time=draw(st.none() | distributions(commit_time_s)) if commit_time_s == 0.002 else None,
            send_buffer_bytes=send_buffer_bytes,
            capacity=draw(capacities()),
            token_lifetime_s=draw(st.sampled_from([None, None, 15.0, 300.0])),
            instances=draw(st.sampled_from([2, 3])),
            balancing=draw(st.sampled_from(["least_connections", "draw"])),
        ),
        client=ClientPart(
            config=config,
            policy=draw(st.sampled_from([FullJitter(cap_s=1.0), FullJitter(cap_s=5.0)]) | lasting_policies()),
            fallback=draw(st.none() | st.none() | fallbacks()),
            heartbeat=heartbeat,
        ),
    )


@lru_cache
def lasting_policies() -> st.SearchStrategy[Policy | PresetPolicy]:
    """Policies that never give up, by their names or as formulas; none waits for longer than half a minute."""
    named = [name for name in sorted(SHIPPED) if longest_wait_s(PRESETS[name].policy, math.inf) <= 30.0]  # type: ignore[arg-type]
    lasting = [PresetPolicy(preset=name) for name in named if PRESETS[name].policy.range_s(MANY_FAILURES) is not None]  # type: ignore[attr-defined]
    return reconnect_policies().filter(lambda policy: policy.range_s(MANY_FAILURES) is not None) | st.sampled_from(lasting)


@st.composite
def _groups(draw: st.DrawFn, name: str, paths: st.SearchStrategy[Path], clients_max: int = CLIENTS_MAX) -> Group:
    clients = draw(st.integers(1, clients_max))
    dns = draw(st.none() | st.none() | st.builds(Dns, ttl_s=st.sampled_from([0.0, 5.0, 30.0])))
    return Group(
        name=name,
        clients=clients,
        path=msgspec.structs.replace(draw(paths), dns=dns),
        nat=draw(st.none() | st.none() | st.just(PortPool(ports=8, time_wait_s=5.0))),
        arrivals=draw(st.none() | st.none() | arrivals(clients)),
        stay=draw(st.none() | st.none() | st.none() | stays()),
        availability=draw(st.none() | st.none() | st.none() | availabilities()),
    )


def _is_thin(path: Path) -> bool:
    return path.bandwidth_bytes_per_s is not None or path.loss is not None


@st.composite
def rich_scenarios(draw: st.DrawFn) -> Scenario:
    """Scenarios on any paths, including paths too slow for the workload: guarantees about time do not apply to them."""
    scenario = draw(scenarios())
    paths = [msgspec.structs.replace(draw(rich_paths()), dns=group.path.dns) for group in scenario.groups]
    groups = tuple(msgspec.structs.replace(group, path=path) for group, path in zip(scenario.groups, paths, strict=True))
    return msgspec.structs.replace(scenario, groups=groups)


def traces() -> st.SearchStrategy[Trace]:
    """The trace of a generated scenario: for tests of checkers, readers and figures."""
    return scenarios().map(lambda scenario: run(scenario).trace)
