"""A fluid model of a reconnect storm: a million clients as a density, computed in seconds, with the shipped policies.

    storm = fluid(load_scenario("load_balancer_cut").replace({"groups.client.clients": 1_000_000}))
    storm.figures["recovery_p99_s"], storm.table          # back, attempts per second, accept queue over time

All clients lose the connection at one instant; for the fault's duration every attempt is refused. Time is divided into bins. For
each number of failures k, an array holds how many clients try in each bin. Clients that are refused, or wait for the server
longer than their connect timeout, try again by the policy: its wait after k failures is a density over the bins, computed from
the policy's own `wait_s` at evenly spaced probabilities. Two queues in a row are fluids as well: the accept queue, which is
served at accepts per second and drops SYNs above its backlog (they are sent again after 1, 3 and 7 s), and the processors' jobs.
Jobs of a client that has given up meanwhile are executed all the same.

It leaves out, and so refuses or cannot show: randomness (a peak of a few clients is larger than its mean), the fallback to
polling (it counts only WebSockets), shedding, several instances, several groups, and policies whose wait depends on the previous
wait (Decorrelated) or on one sample per client (OnceDrawn). `steadywire fluid --compare` shows its difference from the machines.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Decorrelated, OnceDrawn
from reference.protocol.policies.reconnect import Attempt, ReconnectPolicy
from simulation.results.frames import Frames
from simulation.scenario.faults import LoadBalancerCut, ServerRestart
from simulation.scenario.presets import PresetPolicy, find
from simulation.scenario.scaling import scaled
from simulation.scenario.scenario import Capacity, Scenario
from simulation.studies.experiment import Experiment
from simulation.studies.figures import recovery_quantile_s
from simulation.world import Result, World

BIN_S = 0.01
BINS_MAX = 200_000
DRAWS = 4096
"""Evenly spaced probabilities at which a policy's wait is computed."""
FAILURES_MAX = 48
"""From this many failures on, the policy's wait is taken as constant."""
SYN_AGAIN_S = (0.0, 1.0, 3.0, 7.0)
"""When a SYN is sent, after the first (Linux: 1 s, doubled each time)."""
SHARES = (50, 90, 99)
COMPARED = ("recovery_p50_s", "recovery_p99_s", "storm_peak_per_s", "accept_queue_max")


@dataclass(frozen=True)
class Storm:
    """`table`: time_s since the connections were lost (the start of each bin), attempts and back (clients in the bin),
    accept_queue (clients that wait). `gave_up`: clients whose policy ended, or who were not back when the time ended."""

    clients: int
    bin_s: float
    table: pd.DataFrame
    gave_up: float

    @cached_property
    def figures(self) -> Mapping[str, float]:
        """recovery_p50_s, _p90_, _p99_ (since the loss; infinite if so many never were back), storm_peak_per_s (within any one
        second), accept_queue_max, attempts (per client), gave_up."""
        back = np.cumsum(self.table["back"].to_numpy())
        times = self.table["time_s"].to_numpy() + self.bin_s
        figures: dict[str, float] = {}
        for share in SHARES:
            place = int(np.searchsorted(back, self.clients * share / 100))
            figures[f"recovery_p{share}_s"] = float(times[place]) if place < len(times) else math.inf
        attempts = self.table["attempts"].to_numpy()
        window = max(1, round(1 / self.bin_s))
        sums = np.convolve(attempts, np.ones(window))
        return figures | {
            "storm_peak_per_s": float(sums.max()),
            "accept_queue_max": float(self.table["accept_queue"].max()),
            "attempts_per_client": float(attempts.sum()) / self.clients,
            "gave_up": self.gave_up,
        }


class _Even:
    """A random source that returns one chosen probability; a second aspect of one wait gets its own, in another order."""

    def __init__(self, u: float, other: float) -> None:
        self._u, self._other = u, other

    def uniform(self, purpose: str, _: int) -> float:
        return self._u if purpose == "backoff" else self._other


def wait_density(policy: ReconnectPolicy, failures: int, first_spread_s: float, bin_s: float) -> np.ndarray | None:
    """The probability of each bin for the wait after so many failures, shape (bins,), which sums to 1; None: it gives up.

    Mass between two bins is shared by them, so the mean is kept.
    """
    waits = np.empty(DRAWS)
    for number in range(DRAWS):
        u = (number + 0.5) / DRAWS
        other = (number * 0.6180339887498949) % 1.0  # evenly spaced as well, and independent of u
        wait = policy.wait_s(Attempt(failures, 0.0, first_spread_s, failures, _Even(u, other)))
        if wait is None:
            return None
        waits[number] = wait
    places = waits / bin_s
    low = np.floor(places).astype(int)
    density = np.zeros(low.max() + 2)
    np.add.at(density, low, (1 - (places - low)) / DRAWS)
    np.add.at(density, low + 1, (places - low) / DRAWS)
    return density


def fluid(scenario: Scenario, *, bin_s: float = BIN_S, lasts_s: float | None = None) -> Storm:
    """The storm after the scenario's one fault. `lasts_s`: how long it is followed; None: as the scenario is. Raises ConfigError
    for a scenario that is not of the kind above."""
    policy, down_s = _checked(scenario)
    group = scenario.groups[0]
    part = scenario.client_of(group)
    fault = scenario.faults[0]
    lasts_s = lasts_s or scenario.end_s - fault.at_s
    bins = math.ceil(lasts_s / bin_s)
    if bins > BINS_MAX:
        raise ConfigError(f"{lasts_s:g} s are {bins} bins of {bin_s:g} s; the limit is {BINS_MAX}, so take a larger bin")
    spread_s = scenario.server.config.first_spread_s
    densities = _densities(policy, spread_s, bin_s)
    set_up_s = _set_up_s(scenario)
    return _run(
        group.clients,
        densities,
        capacity=scenario.server.capacity or Capacity(),
        is_instant=scenario.server.capacity is None,
        latency_s=group.path.latency_s + group.path.jitter_s / 2,
        set_up_s=set_up_s,
        timeout_s=part.config.connect_timeout_s,
        down_s=down_s,
        bin_s=bin_s,
        bins=bins,
    )


def without_fallback(scenario: Scenario) -> Scenario:
    """The same clients without polling, as in a fluid."""
    return scenario.replace({"client.fallback": {"kind": "never_fall_back"}})


def distance(scenario: Scenario, clients: Sequence[int], *, replications: int = 3, workers: int = 1) -> pd.DataFrame:
    """The fluid beside the machines, who never poll, at these numbers of clients (the server's capacity goes with them): one row
    per number and figure with clients, figure, fluid, machines (mean), low, high, n, off (of the fluid, relative to the
    machines). Counts are those of that many clients. Raises ConfigError."""
    rows = []
    full = without_fallback(scenario)
    everyone = sum(group.clients for group in full.groups)
    for number in clients:
        small = scaled(full, everyone / number)
        storm = fluid(small)
        figures: tuple[Any, ...] = (recovery_p50_s, *COMPARED[1:])
        outcome = Experiment(small, figures=figures, replications=replications).run(workers=workers)
        for figure in COMPARED:
            machines = outcome.interval(figure)
            off = (storm.figures[figure] - machines.mean) / machines.mean if machines.mean else math.nan
            interval = {"machines": machines.mean, "low": machines.low, "high": machines.high, "n": machines.n}
            rows.append({"clients": number, "figure": figure, "fluid": storm.figures[figure], **interval, "off": off})
    return pd.DataFrame(rows)


def recovery_p50_s(result: Result) -> float:
    """The median of all interruptions."""
    return recovery_quantile_s(result, Frames(result.trace_index), 0.5)


def _checked(scenario: Scenario) -> tuple[ReconnectPolicy, float]:
    kinds = (LoadBalancerCut, ServerRestart)
    if len(scenario.groups) != 1 or len(scenario.faults) != 1 or not isinstance(scenario.faults[0], kinds):
        raise ConfigError("a fluid needs one group and one fault, a load_balancer_cut or a server_restart")
    if scenario.drawn_faults or scenario.availability is not None or scenario.groups[0].availability is not None:
        raise ConfigError("a fluid knows no drawn faults and no availability; leave them out")
    fault = scenario.faults[0]
    if isinstance(fault, LoadBalancerCut) and fault.share != 1:
        raise ConfigError("a fluid cuts everyone: set the fault's share to 1")
    if isinstance(fault, ServerRestart) and fault.is_graceful:
        raise ConfigError("a fluid knows a hard restart only: a graceful one asks its clients for waits of its own")
    if scenario.server.instances > 1:
        raise ConfigError("a fluid knows one server process; set server.instances to 1")
    if scenario.server.capacity is not None and scenario.server.capacity.shedding is not None:
        raise ConfigError("a fluid knows no shedding; leave server.capacity.shedding out")
    policy: ReconnectPolicy = scenario.client_of(scenario.groups[0]).policy
    if isinstance(policy, PresetPolicy):
        policy = find(policy.preset).policy
    if isinstance(policy, Decorrelated | OnceDrawn):
        raise ConfigError(f"{type(policy).__name__}: a wait depends on an earlier draw, which a density does not know")
    return policy, fault.duration_s


def _densities(policy: ReconnectPolicy, spread_s: float, bin_s: float) -> list[np.ndarray | None]:
    """By the number of failures; the last stands for all that follow."""
    densities: list[np.ndarray | None] = []
    for failures in range(FAILURES_MAX):
        density = wait_density(policy, failures, spread_s, bin_s)
        densities.append(density)
        if density is None:
            break
        before = densities[-2] if failures > 1 else None
        if before is not None and np.array_equal(before, density) and getattr(policy, "attempts_max", None) is None:
            break
    return densities


def _set_up_s(scenario: Scenario) -> float:
    """From an attempt to the welcome on an idle server, in s: measured with one client of these machines, less the time
    of processors."""
    group = scenario.groups[0]
    changes = {"server.capacity": None, "client.fallback": None, "faults": (), "horizon_s": 2.0, "settle_s": 0.0}
    alone = scenario.replace({"groups.0.clients": 1, "groups.0.arrive_within_s": 0.0, **changes}, record="full")
    tried = Frames(World(alone, 0).run().trace_index)["attempts"]
    took = tried["welcomed_s"] - tried["attempted_s"]
    if not took.notna().any():
        raise ConfigError(f"a client of group {group.name} alone is not welcomed within 2 s: nothing can be said of many")
    return float(took.dropna().iloc[0])


def _run(
    clients: int,
    densities: list[np.ndarray | None],
    *,
    capacity: Capacity,
    is_instant: bool,
    latency_s: float,
    set_up_s: float,
    timeout_s: float,
    down_s: float,
    bin_s: float,
    bins: int,
) -> Storm:
    kinds, sends = len(densities), len(SYN_AGAIN_S)
    trying = np.zeros((kinds, sends, bins + 1))  # clients whose SYN leaves in this bin, by failures and SYNs sent
    back, queue_of = np.zeros(bins + 1), np.zeros(bins)
    gave_up = 0.0
    shifted: dict[tuple[int, float], np.ndarray] = {}

    def wait(failures: int, at_s: float, many: float) -> None:
        nonlocal gave_up
        kind = min(failures, kinds - 1)
        density = densities[kind]
        if density is None:
            gave_up += many
            return
        place = at_s / bin_s
        start = math.floor(place)
        share = round(place - start, 6)  # of the few that there are: a bin's middle and a constant
        if (kind, share) not in shifted:
            shifted[kind, share] = np.convolve(density, (1 - share, share))
        end = min(bins, start + len(density) + 1)
        if start < end:
            trying[kind, 0, start:end] += many * shifted[kind, share][: end - start]

    accepts = math.inf if capacity.accepts_per_s is None else capacity.accepts_per_s
    costs = (
        capacity.handshake_cost,
        capacity.authentication_cost,
        capacity.frame_cost,
        capacity.frame_cost,
        capacity.delivery_cost,
    )
    cost_s = 0.0 if is_instant else math.fsum(cost.mean for cost in costs)
    wait(0, latency_s, float(clients))  # the reset has crossed the network
    queue, work_s, left_at_s = 0.0, 0.0, 0.0
    for place in range(bins):
        sent = trying[:, :, place]
        many = float(sent.sum())
        at_s = (place + 0.5) * bin_s
        queue = max(0.0, queue - accepts * bin_s) if math.isfinite(accepts) else 0.0
        queue_of[place] = queue
        if many < 1e-12:
            continue
        if at_s + latency_s < down_s:  # refused; the client knows after a round trip
            for failures in np.flatnonzero(sent[:, 0]):
                wait(int(failures) + 1, at_s + 2 * latency_s, float(sent[failures, 0]))
            continue
        room = max(0.0, capacity.accept_backlog_max - queue) if math.isfinite(accepts) else math.inf
        dropped = max(0.0, 1 - room / many)
        taken = many * (1 - dropped)
        accept_wait_s = (queue + taken / 2) / accepts
        if math.isfinite(accepts):
            queue += taken
            queue_of[place] = max(queue_of[place], queue)
        patient = sum(
            float(sent[:, number].sum()) * (1 - dropped)
            for number, after_s in enumerate(SYN_AGAIN_S)
            if after_s + accept_wait_s <= timeout_s
        )
        leaves_s = at_s + accept_wait_s
        work_s = max(0.0, work_s - capacity.processors * max(0.0, leaves_s - left_at_s))
        left_at_s = max(left_at_s, leaves_s)
        work_wait_s = (work_s + patient * cost_s / 2) / capacity.processors + cost_s
        work_s += patient * cost_s
        for number, after_s in enumerate(SYN_AGAIN_S):
            of = sent[:, number]
            if not of.any():
                continue
            arrived = float(of.sum()) * (1 - dropped)
            if after_s + accept_wait_s + work_wait_s <= timeout_s:
                done = (at_s + accept_wait_s + work_wait_s + set_up_s) / bin_s
                low = math.floor(done)
                if low < bins:
                    back[low] += arrived * (1 - (done - low))
                    back[low + 1] += arrived * (done - low)
            else:
                for failures in np.flatnonzero(of):
                    wait(int(failures) + 1, at_s + timeout_s - after_s, float(of[failures]) * (1 - dropped))
            if dropped:
                for failures in np.flatnonzero(of):
                    lost = float(of[failures]) * dropped
                    again_s = SYN_AGAIN_S[number + 1] if number + 1 < sends else math.inf
                    if again_s < timeout_s:
                        later = place + round((again_s - after_s) / bin_s)
                        if later < bins:
                            trying[failures, number + 1, later] += lost
                    else:
                        wait(int(failures) + 1, at_s + timeout_s - after_s, lost)
    attempts = trying[:, 0, :bins].sum(axis=0)
    table = pd.DataFrame({"time_s": np.arange(bins) * bin_s, "attempts": attempts, "back": back[:bins], "accept_queue": queue_of})
    return Storm(clients, bin_s, table, gave_up + max(0.0, clients - gave_up - float(back[:bins].sum())))
