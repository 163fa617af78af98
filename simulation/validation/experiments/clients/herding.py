"""Reconnect storms of whole worlds: all clients are cut at once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.timers import NS_PER_S
from simulation.scenario.faults import LoadBalancerCut
from simulation.scenario.scenario import Capacity, ClientPart, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import AttemptMade
from simulation.validation.closed_forms import herd
from simulation.validation.closed_forms.backoff import Wait
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.validation.experiments.worlds import all_absences
from simulation.world import Result, run

CUT_AT_S = 10.0


def attempt_times_s(result: Result, since_s: float) -> np.ndarray:
    """When clients tried to connect from then on, in order. Shape (attempts,)."""
    times = [
        record.at / NS_PER_S
        for client in result.trace_index.clients.values()
        for record in client.records
        if isinstance(record, AttemptMade) and record.at >= since_s * NS_PER_S
    ]
    return np.sort(np.array(times))


def spread_world(clients: int, spread_s: float) -> Scenario:
    """Clients whose first wait after a loss is uniform over the spread that the server asks for."""
    scenario = still_world("herd", clients, client=ClientPart(config=PATIENT_CLIENT))
    return scenario.replace({"server.config.first_spread_s": spread_s})


@dataclass(frozen=True, kw_only=True)
class UniformSpread(TheoryExperiment):
    """A load balancer is cut, the server stays: everyone tries within the spread, in bins of equal width."""

    family: ClassVar[str] = "herd"
    clients: int
    spread_s: float
    bins: int

    def expected(self) -> dict[str, Expected]:
        bin_s = self.spread_s / self.bins
        return {
            "variance of the bins": Expected(herd.bin_variance(self.clients, self.spread_s, bin_s), "clients²", 0.08),
            "fullest bin": Expected(herd.max_bin_mean(self.clients, self.bins), "clients", 0.03),
            "the last": Expected(herd.last_mean_s(self.clients, self.spread_s), "s", 0.005),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        scenario = spread_world(self.clients, self.spread_s).replace(
            faults=(LoadBalancerCut(at_s=CUT_AT_S),), settle_s=self.spread_s + 1
        )
        times = attempt_times_s(run(scenario, seed=seed, replication=replication), CUT_AT_S) - CUT_AT_S
        require(len(times) == self.clients, "each tries once")
        counts, _ = np.histogram(times, bins=self.bins, range=(0, self.spread_s))
        return {
            "variance of the bins": float(np.mean((counts - self.clients / self.bins) ** 2)),
            "fullest bin": float(counts.max()),
            "the last": float(times[-1]),
        }


@dataclass(frozen=True, kw_only=True)
class AfterALongOutage(TheoryExperiment):
    """After so long an outage that every wait is U(low, cap), the ends of the waits are spread as in a stationary renewal
    process.

    The outage lasts for so many `waits` of mean length; the clients' policy has floor and cap.
    """

    family: ClassVar[str] = "herd"
    floor_s: float
    cap_s: float
    clients: int = 30
    waits: int = 30

    @property
    def _wait(self) -> Wait:
        return Wait(0.0, self.cap_s).later(self.floor_s)

    def expected(self) -> dict[str, Expected]:
        wait, soon_s = self._wait, self._wait.mean_s / 4
        return {
            "time until back": Expected(herd.stationary_mean_s(wait), "s", 0.02),
            f"back within {soon_s:g} s": Expected(herd.stationary_cdf(wait, soon_s), "", 0.05),
            "attempts before": Expected(herd.stationary_peak_per_s(self.clients, wait), "1/s", 0.02),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        mean_s = self._wait.mean_s
        window_s, soon_s, end_s = 10 * mean_s, mean_s / 4, CUT_AT_S + self.waits * mean_s
        scenario = still_world("after_a_long_outage", self.clients).replace(
            client=ClientPart(config=PATIENT_CLIENT, policy=FullJitter(cap_s=self.cap_s, floor_s=self.floor_s)),
            faults=(LoadBalancerCut(at_s=CUT_AT_S, duration_s=end_s - CUT_AT_S),),
            settle_s=2 * (self.floor_s + self.cap_s),
        )
        result = run(scenario, seed=seed, replication=replication)
        back = [absence.end_s - end_s for absence in all_absences(result.trace_index) if absence.has_returned]
        require(len(back) == self.clients, "everyone is back")
        times = attempt_times_s(result, end_s - window_s)
        return {
            "time until back": float(np.mean(back)),
            f"back within {soon_s:g} s": float(np.mean(np.array(back) <= soon_s)),
            "attempts before": float((times < end_s).sum() / window_s),
        }


@dataclass(frozen=True, kw_only=True)
class AcceptRate(TheoryExperiment):
    """More clients come back than the server can accept: they wait in its backlog. It takes one at once, and the next one 1 / mu
    later."""

    family: ClassVar[str] = "herd"
    clients: int
    spread_s: float
    accepts_per_s: float

    def expected(self) -> dict[str, Expected]:
        theory = herd.AcceptQueue(self.clients, self.spread_s, self.accepts_per_s)
        return {
            "the last is taken": Expected(theory.last_mean_s - 1 / self.accepts_per_s, "s", 0.005),
            "mean wait": Expected(theory.wait_mean_s, "s", 0.02),
            "backlog at the end of the spread": Expected(theory.backlog_mean - 1, "clients", 0.01),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        cut_at_s = settle_s = 2 * self.clients / self.accepts_per_s
        scenario = spread_world(self.clients, self.spread_s).replace(
            {"server.capacity": Capacity(accepts_per_s=self.accepts_per_s)},
            faults=(LoadBalancerCut(at_s=cut_at_s),),
            settle_s=settle_s,
        )
        result = run(scenario, seed=seed, replication=replication)
        came_s = attempt_times_s(result, cut_at_s) - cut_at_s
        taken_s = np.array([absence.end_s - cut_at_s for absence in all_absences(result.trace_index) if absence.has_returned])
        require(len(came_s) == len(taken_s) == self.clients, "each tries once and is taken")
        return {
            "the last is taken": float(taken_s.max()),
            "mean wait": float(taken_s.mean() - came_s.mean()),
            "backlog at the end of the spread": float(np.sum(taken_s > self.spread_s + 1e-9)),
        }
