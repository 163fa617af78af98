"""Reconnect attempts and times of whole worlds: every client loses its connection, each in a separate outage.

A reset cuts what stands, and new connections are refused, at once, for an exponential time. The client's policy, its count of
failures and its fallback are the shipped ones.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulation.random import RandomStreams
from simulation.scenario.faults import Fault, Path, Refuse, Reset
from simulation.scenario.scenario import ClientPart, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.validation.closed_forms import backoff
from simulation.validation.closed_forms.backoff import Schedule, Wait
from simulation.validation.experiment import Expected, TheoryExperiment, require, share
from simulation.validation.experiments.clients.policies import POLICIES
from simulation.validation.experiments.worlds import all_absences
from simulation.world import run

CUT_AT_S = 10.0


def outages(seed: int, replication: int, clients: int, mean_s: float) -> tuple[Fault, ...]:
    """For each client a reset, and refusals for a time that is Exp(mean)."""
    random_source = RandomStreams(seed, replication).of("outages")
    faults: list[Fault] = []
    for number in range(clients):
        who = (f"c-{number}",)
        lasts_s = -mean_s * math.log1p(-random_source.uniform("duration", number))
        # Refuse first: a client that tries again at once must not find the door open.
        faults += [Refuse(at_s=CUT_AT_S, duration_s=lasts_s, clients=who), Reset(at_s=CUT_AT_S, clients=who)]
    return tuple(faults)


def travelling(schedule: Schedule, one_way_s: float) -> Schedule:
    """The waits between the moments at which attempts are judged, at the far end of a path: the first comes one way after its
    wait, each other one a round trip and its wait after the one before."""

    def wait(k: int) -> Wait | None:
        distribution = schedule(k)
        return None if distribution is None else distribution.later(one_way_s if k == 1 else 2 * one_way_s)

    return wait


HANDSHAKE_WAYS = 5
"""From a SYN that is answered to the client's being welcomed: its answer, upgrade, 101, hello, welcome."""


@dataclass(frozen=True, kw_only=True)
class AfterAnOutage(TheoryExperiment):
    """Attempts and time until reconnected, and how often the first few attempts all fail."""

    family: ClassVar[str] = "backoff"
    policy: str
    outage_mean_s: float
    attempts: int = 3
    latency_s: float = 0.0
    clients: int = 20

    def expected(self) -> dict[str, Expected]:
        schedule = travelling(POLICIES[self.policy].schedule, self.latency_s)
        cases = self.clients * self.replications
        fail = share(backoff.all_fail(schedule, self.attempts, self.outage_mean_s), cases)
        found = backoff.reconnect(schedule, self.outage_mean_s)
        if found.gives_up:
            return {
                "P(gives up)": share(found.gives_up, self.clients * self.replications),
                f"P(first {self.attempts} fail)": fail,
            }
        return {
            "attempts": Expected(found.attempts_mean, "", 0.03),
            "time until reconnected": Expected(found.time_mean_s + HANDSHAKE_WAYS * self.latency_s, "s", 0.06),
            f"P(first {self.attempts} fail)": fail,
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        result = run(self._scenario(seed, replication), seed=seed, replication=replication)
        trace_index = result.trace_index
        found = all_absences(trace_index)
        require(len(found) == self.clients, "each client is away once")
        returned = np.array([absence.has_returned for absence in found])
        attempts = np.array([absence.attempts for absence in found])
        return {
            "attempts": attempts.mean(),
            "time until reconnected": float(np.mean([absence.duration_s for absence in found])),
            f"P(first {self.attempts} fail)": float(np.mean((attempts > self.attempts) | ~returned)),
            "P(gives up)": 1 - returned.mean(),
        }

    def _scenario(self, seed: int, replication: int) -> Scenario:
        policy = POLICIES[self.policy]
        scenario = still_world("after_an_outage", self.clients, Path(latency_s=self.latency_s))
        return scenario.replace(
            {"server.config.first_spread_s": policy.first_spread_s},
            client=ClientPart(config=PATIENT_CLIENT, policy=policy.shipped),
            faults=outages(seed, replication, self.clients, self.outage_mean_s),
            settle_s=60 * self.outage_mean_s + 3600,
        )
