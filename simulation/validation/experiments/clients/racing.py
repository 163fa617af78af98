"""Races of timers, and phases: pings and a middlebox that forgets, outages that begin anywhere in their period."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np

from reference.protocol.timers import NS_PER_S
from simulation.network.availability import outages
from simulation.random import RandomStreams
from simulation.scenario.paths import Middlebox, Path, PeriodicAvailability
from simulation.scenario.scenario import ClientPart
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import PathTroubled
from simulation.validation.closed_forms import races
from simulation.validation.experiment import Expected, TheoryExperiment, share
from simulation.validation.experiments.network.transport import connected_at_s
from simulation.world import run

CLIENTS = 50
PINGS = 3


@dataclass(frozen=True, kw_only=True)
class PingRace(TheoryExperiment):
    """How many connections a middlebox at the client has forgotten after one ping interval, and after three."""

    family: ClassVar[str] = "timers"
    replications: ClassVar[int] = 40
    ping_s: float
    idle_s: float
    slack_s: float
    round_trip_s: float = 0.1

    def expected(self) -> dict[str, Expected]:
        killed = races.killed(self.ping_s, self.idle_s, self.slack_s, self.round_trip_s)
        reported = {}
        for pings in (1, PINGS):
            lost = 1 - (1 - killed) ** pings
            exact = lost in (0.0, 1.0)
            reported[f"lost after {pings}"] = Expected(lost, "") if exact else share(lost, CLIENTS * self.replications)
        return reported

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.ping_s)
        path = Path(latency_s=self.round_trip_s / 2, middlebox=Middlebox(idle_timeout_s=self.idle_s, place=0.0))
        scenario = still_world("race", CLIENTS, path).replace(
            client=ClientPart(config=config, timer_slack_s=self.slack_s),
            horizon_s=10 + PINGS * (self.ping_s + self.slack_s) + self.idle_s,
        )
        result = run(scenario, seed=seed, replication=replication)
        killed: dict[str, float] = {}
        for record in result.trace:
            if isinstance(record, PathTroubled) and record.what == "idle_silence":
                killed.setdefault(record.client, record.at / NS_PER_S)
        reported = {}
        for pings in (1, PINGS):
            lost = 0
            for name, client in result.trace_index.clients.items():
                # The n-th ping is due n intervals and their lateness after the first; the box forgets before the next is due.
                until_s = connected_at_s(client)[0] + pings * (self.ping_s + self.slack_s) + self.idle_s - self.ping_s + 1.0
                lost += name in killed and killed[name] < until_s
            reported[f"lost after {pings}"] = lost / CLIENTS
        return reported


@dataclass(frozen=True, kw_only=True)
class Phases(TheoryExperiment):
    """When the first outage of a period with a random phase begins."""

    family: ClassVar[str] = "phases"
    period_s: float
    first_s: float = 0.0
    clients: int = 200

    def expected(self) -> dict[str, Expected]:
        return {
            "mean": Expected(self.first_s + self.period_s / 2, "s", 0.02),
            "mean square from the middle": Expected(self.period_s**2 / 12, "s2", 0.02),
            "P(in the first quarter)": share(0.25, self.clients * 30),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        process = PeriodicAvailability(
            period_s=self.period_s, down_s=self.period_s / 10, first_down_s=self.first_s, random_phase=True
        )
        streams = RandomStreams(seed, replication)
        first = np.array([next(iter(outages(process, streams.of(f"c-{n}"))))[0] / NS_PER_S for n in range(self.clients)])
        return {
            "mean": float(first.mean()),
            "mean square from the middle": float(np.mean((first - self.first_s - self.period_s / 2) ** 2)),
            "P(in the first quarter)": float(np.mean(first < self.first_s + self.period_s / 4)),
        }
