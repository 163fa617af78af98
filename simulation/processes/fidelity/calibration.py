"""The costs of this machine, fitted from a short real run (`costs`).

Two runs use real processes on links without latency. In the first twenty clients read single publishes, and then all are cut at
once and reconnect together; in the second one client publishes in bursts. From their traces:

    hop             half of each ping's round trip
    commit_time     the time from a single publish to its answer, less two hops and a frame
    delivery_cost   how much later the readers of an event got it, on average, than the only reader in the second run;
                    for readers that are served one after the other that is half of the cost for each reader
    handshake_cost  how long after the cut the last client was back, less one handshake on the network, divided by the clients,
                    less a frame and a delivery
    frame_cost      how much longer a burst took for each additional event, less one delivery

Both are repeated, and each cost is the median of the repetitions: single ones of the same hour differ by half.

A fit is a function of traces alone, so it is tested with simulated traces, whose costs are known. The fitted costs are those of
the whole machine during the run, including clients and emulator: they all share its processors, as the simulated server does its
own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.events import GRAFT
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.processes.fidelity.costs import MeasuredCosts
from simulation.processes.fidelity.twin import Silent
from simulation.processes.real_run import play
from simulation.processes.run_plan import ClientPlan, Move, Parameters, Plan
from simulation.scenario.distributions import Distribution, Empirical
from simulation.scenario.faults import Reset
from simulation.scenario.paths import Path as NetworkPath
from simulation.trace.index import TraceIndex, index_of
from simulation.trace.publishes import publish_data
from simulation.trace.trace import Delivered, Trace

READERS = 20
PUBLISHES, PUBLISH_EVERY_S = 40, 0.4
CUT_AFTER_S = 1.0
BURSTS, BURST_EVERY_S = (1, 8, 16, 32), 0.5
BURST_ROUNDS = 5
HANDSHAKE_HOPS = 6
"""From a SYN to a welcome."""
REPETITIONS = 3
LAW_VALUES = 101
"""Of an empirical law: the quantiles 0, 0.01, ... 1."""

_CLIENT = ClientConfig(ping_interval_s=0.5, ping_timeout_s=5.0, connect_timeout_s=5.0, first_spread_s=0.0)
_SERVER = ServerConfig(first_spread_s=0.0, events_kept_max=10_000)
_POLICY = FullJitter(base_s=0.5, cap_s=2.0)
_PARAMETERS = Parameters(client=_CLIENT, server=_SERVER, policy=_POLICY, wait_max_s=2.25, round_trip_max_s=1.0)


def fan_out_plan(seed: int) -> Plan:
    """The first run: single publishes, each client in turn, and then a cut of everyone."""
    begin_s = 2.0
    times = [begin_s + number * PUBLISH_EVERY_S for number in range(PUBLISHES)]
    clients = tuple(_client(f"reader-{index}", index * 0.05, times[index::READERS]) for index in range(READERS))
    cut_s = times[-1] + CUT_AFTER_S
    return Plan(seed, cut_s, clients, (Reset(at_s=cut_s),), _PARAMETERS, settle_s=4.0)


def burst_plan(seed: int) -> Plan:
    """The second run: one client, bursts of several sizes in turn."""
    times: list[float] = []
    at_s = 1.0
    for _ in range(BURST_ROUNDS):
        for size in BURSTS:
            times += [at_s] * size
            at_s += BURST_EVERY_S
    return Plan(seed, at_s, (_client("writer-0", 0.0, times),), (), _PARAMETERS, settle_s=1.0)


async def calibrate(directory: Path, *, seed: int) -> MeasuredCosts:
    """Run both plans several times, with their files in `directory`, and fit. Raises ServerFailed, NoFreePort, ConfigError."""
    fits = []
    for repetition in range(REPETITIONS):
        traces = []
        for name, plan in (("fan-out", fan_out_plan(seed)), ("bursts", burst_plan(seed))):
            place = directory / f"{name}-{repetition}"
            place.mkdir()
            traces.append((await play(plan, Silent(), place)).trace)
        fits.append(fit(*traces))
    return median_of(fits)


def median_of(fits: Sequence[MeasuredCosts]) -> MeasuredCosts:
    """Each cost is the median of the fits; each quantile of a distribution, too."""

    def law(laws: Sequence[Distribution]) -> Empirical:
        quantiles = (np.arange(LAW_VALUES) + 0.5) / LAW_VALUES
        return _law(np.median([[law.at(float(quantile)) for quantile in quantiles] for law in laws], axis=0))

    return MeasuredCosts(
        hop=law([fit.hop for fit in fits]),
        commit_time=law([fit.commit_time for fit in fits]),
        frame_cost_s=float(np.median([fit.frame_cost_s for fit in fits])),
        delivery_cost_s=float(np.median([fit.delivery_cost_s for fit in fits])),
        handshake_cost_s=float(np.median([fit.handshake_cost_s for fit in fits])),
    )


def fit(fan_out: Trace, bursts: Trace) -> MeasuredCosts:
    """The costs that the traces of the two runs show. Raises ConfigError if they show too little."""
    trace_index = index_of(fan_out)
    hops = np.array([report.round_trip_ms * NS_PER_MS / NS_PER_S / 2 for report in trace_index.round_trips])
    hops = hops[: max(1, int(0.9 * len(hops)))]  # without the last ones, which the cut has disturbed
    alone_s = float(np.median(_needed("single deliveries", list(_latencies(index_of(bursts), alone=True)))))
    shared_s = float(np.median(_needed("deliveries", list(_latencies(trace_index)))))
    returns = _needed("returns after the cut", list(_return_times(trace_index)))
    delivery_s = max(0.0, 2 * (shared_s - alone_s) / (READERS - 1))
    frame_s = max(0.0, _slope(list(_burst_durations(index_of(bursts)))) - delivery_s)
    hop_s = float(np.median(_needed("answered pings", list(hops))))
    commits = np.array(_needed("answers", list(_answers(trace_index)))) - 2 * hop_s - frame_s
    return MeasuredCosts(
        hop=_distribution(hops),
        commit_time=_distribution(np.maximum(commits, 0.0)),
        frame_cost_s=frame_s,
        delivery_cost_s=delivery_s,
        handshake_cost_s=max(0.0, (max(returns) - HANDSHAKE_HOPS * hop_s) / len(returns) - frame_s - delivery_s),
    )


def _client(name: str, joins_at_s: float, times: Sequence[float]) -> ClientPlan:
    moves = tuple(
        Move(at_s, GRAFT, publish_data(f"{name}:{number}", position=f"p{number % 10}")) for number, at_s in enumerate(times)
    )
    return ClientPlan(name, NetworkPath(latency_s=0.0), joins_at_s, moves)


def _answers(trace_index: TraceIndex) -> Iterator[float]:
    """How long each publish waited for its answer, in seconds."""
    for client in trace_index.clients.values():
        for ticket, publish in client.published.items():
            if ticket in client.accepted:
                yield (client.accepted[ticket][0].at - publish.at) / NS_PER_S


def _latencies(trace_index: TraceIndex, *, alone: bool = False) -> Iterator[float]:
    """From each publish to its delivery, averaged over its readers, in seconds. `alone`: only of publishes without another one
    at the same time."""
    published = {
        publish.publish_id: publish.at for client in trace_index.clients.values() for publish in client.published.values()
    }
    times_published = list(published.values())
    given: dict[str | None, list[int]] = {}
    for client in trace_index.clients.values():
        for record in client.progress():
            if isinstance(record, Delivered):
                given.setdefault(record.publish_id, []).append(record.at)
    for publish_id, times in given.items():
        at = published.get(publish_id)
        if at is not None and len(times) == len(trace_index.clients) and not (alone and _is_in_burst(at, times_published)):
            yield (sum(times) / len(times) - at) / NS_PER_S


def _is_in_burst(at: int, times: Sequence[int]) -> bool:
    return sum(abs(other - at) < BURST_EVERY_S / 2 * NS_PER_S for other in times) > 1


def _return_times(trace_index: TraceIndex) -> Iterator[float]:
    """How long after the cut each client was back, in seconds."""
    cut_at = trace_index.faults_end
    for client in trace_index.clients.values():
        back = next((turn.at for turn in client.turns() if turn.at > cut_at and turn.is_carried), None)
        if back is not None:
            yield (back - cut_at) / NS_PER_S


def _burst_durations(trace_index: TraceIndex) -> Iterator[tuple[int, float]]:
    """For each burst: its size, and how long it took until its last event was answered, in seconds."""
    for client in trace_index.clients.values():
        bursts: dict[int, list[int]] = {}
        for ticket, publish in client.published.items():
            begun = max((at for at in bursts if publish.at - at < BURST_EVERY_S / 2 * NS_PER_S), default=publish.at)
            if ticket in client.accepted:
                bursts.setdefault(begun, []).append(client.accepted[ticket][0].at)
        for begun, answered in bursts.items():
            yield len(answered), (max(answered) - begun) / NS_PER_S


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """Of the medians of each size, by least squares."""
    sizes = sorted({size for size, _ in points})
    if len(sizes) < 2:
        raise ConfigError("too little was answered to fit the costs; the log of the run says why, or the machine is too busy")
    medians = [float(np.median([took for size, took in points if size == wanted])) for wanted in sizes]
    return float(np.polyfit(sizes, medians, 1)[0])


def _needed(what: str, values: list[float]) -> list[float]:
    if not values:
        raise ConfigError(f"there were no {what} to fit the costs from; the machine is too busy, try again")
    return values


def _distribution(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Empirical:
    return _law(np.quantile(values, np.linspace(0, 1, LAW_VALUES)))


def _law(quantiles: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Empirical:
    return Empirical(values=tuple(round(float(value), 7) for value in quantiles))
