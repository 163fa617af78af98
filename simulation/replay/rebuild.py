"""A recorded run as a scenario: to be simulated as it was, or with other parameters.

For each client: its arrival, the time, type and size of its publishes, and the round trips of its pings, half of which is used
for each direction. Faults are copied. The server's machine is unknown and assumed never to be busy; its costs are within the
round trips.
"""

import msgspec
import numpy as np

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.events import CHAT, FLAG, GRAFT, PRUNE
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.scenario.distributions import Empirical
from simulation.scenario.faults import Fault
from simulation.scenario.paths import Path
from simulation.scenario.population import RecordedArrivals
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart
from simulation.scenario.workload import IDLE, RecordedTimes, Stream, Workload
from simulation.trace.index import ClientIndex, TraceIndex, index_of
from simulation.trace.trace import FaultHappened, FaultOver, Trace

STREAMS = {GRAFT: "graft", PRUNE: "prune", FLAG: "flag", CHAT: "chat"}
ONE_WAY_S = 0.02
"""For a client without any known round trip."""
DELAY_VALUES_MAX = 200


def scenario_of(trace: Trace, *, name: str = "recorded") -> Scenario:
    """The scenario of a real run. Raises ConfigError for a trace without clients, or of a simulated run that has a scenario."""
    trace_index = index_of(trace)
    if not trace_index.clients:
        raise ConfigError("this trace has no clients, so there is nothing to replay")
    if trace_index.started.world == "simulation":
        raise ConfigError("this trace was simulated: vary its scenario.toml instead")
    client = trace_index.started.client or ClientConfig()
    server = trace_index.started.server or ServerConfig()
    part = ClientPart(config=msgspec.structs.replace(client, refreshes_token=False))
    if trace_index.started.policy is not None:
        part = msgspec.structs.replace(part, policy=trace_index.started.policy)
    if trace_index.started.fallback != client.fallback_policy:  # else the config says it, and can be varied
        part = msgspec.structs.replace(part, fallback=trace_index.started.fallback)
    if trace_index.started.heartbeat != client.heartbeat_policy:
        part = msgspec.structs.replace(part, heartbeat=trace_index.started.heartbeat)
    one_ways = _one_ways(trace_index)
    publishes = [publish for each in trace_index.clients.values() for publish in each.published.values()]
    return Scenario(
        name=name,
        seed=trace_index.started.seed,
        horizon_s=max([1.0, *(publish.at / NS_PER_S + 0.001 for publish in publishes)]),
        groups=tuple(_group(each, one_ways.get(each.name, [])) for each in trace_index.clients.values()),
        faults=faults_as_they_were(trace),  # a client of the trace is the group of its name
        client=part,
        server=ServerPart(config=server),
        workload=IDLE,
    ).replace()


def faults_as_they_were(trace: Trace) -> tuple[Fault, ...]:
    """The faults of a trace, with their start and end times, including those of availability."""
    ended: dict[Fault, list[int]] = {}
    for record in trace:
        if isinstance(record, FaultOver):
            ended.setdefault(record.fault, []).append(record.at)
    faults = []
    for record in trace:
        if isinstance(record, FaultHappened):
            changes = {"at_s": record.at / NS_PER_S}
            if ends := ended.get(record.fault):
                changes["duration_s"] = (ends.pop(0) - record.at) / NS_PER_S
            faults.append(msgspec.structs.replace(record.fault, **changes))
    return tuple(faults)


def _group(client: ClientIndex, one_ways_s: list[float]) -> Group:
    return Group(
        name=client.name,
        path=_path(one_ways_s),
        arrivals=RecordedArrivals(times_s=(client.started_at / NS_PER_S,)),
        workload=_workload(client),
    )


def _path(one_ways_s: list[float]) -> Path:
    if not one_ways_s:
        return Path(latency_s=ONE_WAY_S)
    least = min(one_ways_s)
    above = np.quantile(one_ways_s, np.linspace(0, 1, min(DELAY_VALUES_MAX, len(one_ways_s)))) - least
    return Path(latency_s=least, delay=Empirical(values=tuple(round(max(0.0, float(value)), 6) for value in above)))


def _workload(client: ClientIndex) -> Workload:
    times: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for publish in client.published.values():
        if publish.event_type not in STREAMS:
            raise ConfigError(f"{client.name} published a {publish.event_type}, and the simulator knows {', '.join(STREAMS)}")
        stream = STREAMS[publish.event_type]
        times.setdefault(stream, []).append((publish.at - client.started_at) / NS_PER_S)
        sizes.setdefault(stream, []).append(float(publish.size_bytes or len(msgspec.json.encode(publish.data))))
    streams = {
        stream: Stream(timing=RecordedTimes(times_s=tuple(sorted(at_s))), size_bytes=Empirical(values=tuple(sizes[stream])))
        for stream, at_s in times.items()
    }
    return msgspec.structs.replace(IDLE, **streams)


def _one_ways(trace_index: TraceIndex) -> dict[str, list[float]]:
    """By client: half of each round trip, in seconds."""
    names = {client.client_id: client.name for client in trace_index.clients.values()}
    found: dict[str, list[float]] = {}
    for report in trace_index.round_trips:
        name = names.get(trace_index.session_owners.get(report.session_id, ""))
        if name is not None:
            found.setdefault(name, []).append(report.round_trip_ms * NS_PER_MS / NS_PER_S / 2)
    return found
