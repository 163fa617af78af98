"""Scaled worlds: population and capacity divided by one factor, so that a thousand clients represent a hundred thousand.

    small = scaled(load_scenario("load_balancer_cut"), 10)          # 1,000 clients, 500 accepts/s in place of 10,000 and 5,000

Divided are: the clients of each group and their arrivals per second, accepts per second, both backlogs, ports, processors, shared
bottlenecks. If processors cannot be divided (there is only one), jobs cost that much more. Deliveries and replays grow with the
square of the clients, so their costs grow with the square of the factor; the store has so many times fewer events, so each takes
it that much longer. All times stay the same: waits, timeouts, latencies, faults, the workload of one client.

A queue of a hundred behaves like a tenth of a queue of a thousand as long as both are long, so waits and shares keep their
values, and counts (`EXTENSIVE`) are larger by the factor in the full world. Not preserved are: the granularity of one client,
random fluctuations (larger by the root of the factor), maxima over many, and the load of links by fan-outs (everyone gets the
events of fewer others, so a link with a bandwidth looks that much emptier). Therefore a scaled result is checked at several
factors and at full size (`simulation.studies.tuning.scale_check`).
"""

import math
from typing import Any

import msgspec

from reference.protocol.errors import ConfigError
from simulation.scenario.distributions import Distribution
from simulation.scenario.paths import PortPool
from simulation.scenario.population import PoissonArrivals
from simulation.scenario.scenario import Capacity, Group, Scenario, ServerPart

FACTOR_MAX = 100_000.0

EXTENSIVE = frozenset(
    {
        "accept_queue_max",
        "accepted",
        "accepts_per_s_max",
        "attempts_per_s_max",
        "clients",
        "failed",
        "fallbacks",
        "gave_up",
        "lost",
        "lost_with_store",
        "not_durable_max",
        "not_returned",
        "open_requests_max",
        "published",
        "reconnections",
        "refused",
        "resets",
        "returns_to_websocket",
        "snapshots",
        "storm_peak_per_s",
        "unsettled",
        "work_queue_max",
    }
)
"""Figures that count clients or their actions: they are larger by the factor in the full world."""


_LIMITS = ("clients_per_run_max", "connections_per_run_max", "sessions_per_run_max")


def scaled(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with population and capacity divided by `factor`; below 1 the world grows, including the server's limits on
    clients. Raises ConfigError if a group is too small for it, or a fault names a client that no longer exists."""
    if not 1 / FACTOR_MAX <= factor <= FACTOR_MAX:
        raise ConfigError(f"scale = {factor:g}: from {1 / FACTOR_MAX:g} to {FACTOR_MAX:g}; 1 is the full world")
    if factor == 1:
        return scenario
    groups = tuple(_group(group, factor) for group in scenario.groups)
    try:
        return scenario.replace(groups=groups, server=_server(scenario.server, factor))
    except ConfigError as error:
        raise ConfigError(f"scale = {factor:g}: {error}") from None


def _server(server: ServerPart, factor: float) -> ServerPart:
    config = server.config
    if factor < 1:
        config = msgspec.structs.replace(config, **{name: math.ceil(getattr(config, name) / factor) for name in _LIMITS})
    return msgspec.structs.replace(
        server,
        capacity=None if server.capacity is None else _capacity(server.capacity, factor),
        config=config,
        commit_event_time_s=server.commit_event_time_s * factor,
        balancer=_ports(server.balancer, factor),
    )


def _ports(pool: PortPool | None, factor: float) -> PortPool | None:
    return None if pool is None else msgspec.structs.replace(pool, ports=max(1, round(pool.ports / factor)))


def _group(group: Group, factor: float) -> Group:
    if group.clients < 2:
        return group  # a group of one client is not scaled
    clients = round(group.clients / factor)
    if clients < 1:
        raise ConfigError(f"scale = {factor:g} leaves nobody of the {group.clients} clients of group {group.name}; lower it")
    changes: dict[str, Any] = {"clients": clients, "nat": _ports(group.nat, factor)}
    if isinstance(group.arrivals, PoissonArrivals):
        changes["arrivals"] = msgspec.structs.replace(group.arrivals, per_s=group.arrivals.per_s / factor)
    if group.shared_bottleneck is not None:
        cell = group.shared_bottleneck
        up = cell.up_bandwidth_bytes_per_s
        changes["shared_bottleneck"] = msgspec.structs.replace(
            cell,
            bandwidth_bytes_per_s=cell.bandwidth_bytes_per_s / factor,
            up_bandwidth_bytes_per_s=None if up is None else up / factor,
        )
    return msgspec.structs.replace(group, **changes)


def _capacity(capacity: Capacity, factor: float) -> Capacity:
    processors = max(1, math.floor(capacity.processors / factor))
    dearer = factor * processors / capacity.processors
    accepts, syns, resumption = capacity.accepts_per_s, capacity.syn_backlog_max, capacity.resumption_cost
    return msgspec.structs.replace(
        capacity,
        processors=processors,
        accepts_per_s=None if accepts is None else accepts / factor,
        accept_backlog_max=max(1, round(capacity.accept_backlog_max / factor)),
        syn_backlog_max=None if syns is None else max(1, round(syns / factor)),
        handshake_cost=times(capacity.handshake_cost, dearer),
        resumption_cost=None if resumption is None else times(resumption, dearer),
        authentication_cost=times(capacity.authentication_cost, dearer),
        frame_cost=times(capacity.frame_cost, dearer),
        delivery_cost=times(capacity.delivery_cost, dearer * factor),
        replay_event_cost=times(capacity.replay_event_cost, dearer * factor),
    )


_SCALES = ("value", "low", "high", "scale", "least", "median", "most")
"""Fields of a distribution that have the unit of its values."""


def times(distribution: Distribution, factor: float) -> Distribution:
    """The distribution of `factor` times a value."""
    fields = msgspec.structs.asdict(distribution)
    changes: dict[str, Any] = {name: fields[name] * factor for name in _SCALES if name in fields}
    if "values" in fields:
        changes["values"] = tuple(value * factor for value in fields["values"])
    return msgspec.structs.replace(distribution, **changes)
