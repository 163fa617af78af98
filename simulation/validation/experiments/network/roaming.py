"""Reconnect attempts on a network that comes and goes by itself, in whole worlds: each client's line is on and off for
exponential times, and going off resets its connection and refuses new ones."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulation.scenario.paths import OnOffMarkov
from simulation.scenario.scenario import ClientPart
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.validation.closed_forms import onoff
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.validation.experiments.clients.policies import POLICIES
from simulation.validation.experiments.worlds import absences
from simulation.world import run


@dataclass(frozen=True, kw_only=True)
class OnAndOff(TheoryExperiment):
    """So many absences of each client, one after the other; all that fit into a time would be too many short ones."""

    family: ClassVar[str] = "onoff"
    policy: str
    on_mean_s: float
    off_mean_s: float
    attempts: int = 2
    clients: int = 6
    absences: int = 4

    def expected(self) -> dict[str, Expected]:
        schedule = POLICIES[self.policy].schedule
        found = onoff.reconnect(schedule, self.on_mean_s, self.off_mean_s)
        fail = onoff.all_fail(schedule, self.attempts, self.on_mean_s, self.off_mean_s)
        return {
            "attempts": Expected(found.attempts_mean, "", 0.02),
            "time until reconnected": Expected(found.time_mean_s, "s", 0.05),
            f"P(first {self.attempts} fail)": Expected(fail, "", 0.06),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        policy = POLICIES[self.policy]
        away_s = onoff.reconnect(policy.schedule, self.on_mean_s, self.off_mean_s).time_mean_s
        scenario = still_world("on_and_off", self.clients).replace(
            {"server.config.first_spread_s": policy.first_spread_s},
            availability=OnOffMarkov(up_mean_s=self.on_mean_s, down_mean_s=self.off_mean_s, effect="cut"),
            client=ClientPart(config=PATIENT_CLIENT, policy=policy.shipped),
            horizon_s=6 * (self.absences + 1) * (self.on_mean_s + away_s),
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        found = []
        for client in trace_index.clients.values():
            complete = [absence for absence in absences(client, trace_index.ended_at) if absence.has_returned]
            require(len(complete) > self.absences, f"{client.name} is away often enough")
            # Not the first: where a line begins down, it is cut before the session has forgotten that it was never up.
            found += complete[1 : self.absences + 1]
        attempts = np.array([absence.attempts for absence in found])
        return {
            "attempts": float(attempts.mean()),
            "time until reconnected": float(np.mean([absence.duration_s for absence in found])),
            f"P(first {self.attempts} fail)": float(np.mean(attempts > self.attempts)),
        }
