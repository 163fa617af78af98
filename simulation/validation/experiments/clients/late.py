"""Staleness in whole worlds: a writer with a network without latency, and readers with on/off links."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec

from reference.protocol.timers import NS_PER_S
from simulation.scenario.paths import OnOffMarkov
from simulation.scenario.scenario import ClientPart, Group
from simulation.scenario.still_world import AT_ONCE, PATIENT_CLIENT, QUIET, still_world
from simulation.trace.trace import Delivered
from simulation.validation.closed_forms import onoff, staleness
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.validation.experiments.clients.policies import POLICIES
from simulation.world import run

LATE_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class LateEvents(TheoryExperiment):
    """The share of events that come late, and the mean delay of all. The line may go off again before the client has noticed that
    it was on, so the absences are those of `onoff`."""

    family: ClassVar[str] = "staleness"
    policy: str
    on_mean_s: float
    off_mean_s: float
    clients: int = 6
    events: int = 120

    def expected(self) -> dict[str, Expected]:
        away = onoff.reconnect(POLICIES[self.policy].schedule, self.on_mean_s, self.off_mean_s)
        mean, square = away.time_mean_s, away.time_mean_square_s2
        return {
            "late share": Expected(staleness.late_share(self.on_mean_s, mean), "", 0.03),
            "mean delay": Expected(staleness.delay_mean_s(self.on_mean_s, mean, square), "s", 0.06),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        policy = POLICIES[self.policy]
        away_s = onoff.reconnect(policy.schedule, self.on_mean_s, self.off_mean_s).time_mean_s
        cycle_s = self.on_mean_s + away_s
        warm_up_s, lasts_s = 5 * cycle_s, 20 * cycle_s
        over_s = warm_up_s + lasts_s
        last_comes_s = over_s + 20 * (self.off_mean_s + away_s)  # so that no absence is cut short by the end
        network = OnOffMarkov(up_mean_s=self.on_mean_s, down_mean_s=self.off_mean_s, effect="cut")
        scenario = still_world("late", 1).replace(
            {"server.config.first_spread_s": policy.first_spread_s},
            groups=(
                Group(name="reader", clients=self.clients, path=AT_ONCE, arrive_within_s=0.0, availability=network),
                Group(
                    name="writer",
                    path=AT_ONCE,
                    arrive_within_s=0.0,
                    workload=msgspec.structs.replace(QUIET, chat_per_s=self.events / lasts_s),
                ),
            ),
            client=ClientPart(config=PATIENT_CLIENT, policy=policy.shipped),
            horizon_s=last_comes_s,
            settle_s=100 * away_s,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        published = {
            publish.publish_id: publish.at
            for publish in trace_index.clients["writer-0"].published.values()
            if warm_up_s <= publish.at / NS_PER_S < over_s
        }
        delays = [
            (record.at - published[record.publish_id]) / NS_PER_S
            for name, client in trace_index.clients.items()
            if name != "writer-0"
            for record in client.records
            if isinstance(record, Delivered) and record.publish_id in published
        ]
        require(len(delays) == len(published) * self.clients, "every reader is given every event once")
        return {
            "late share": sum(delay > LATE_S for delay in delays) / len(delays),
            "mean delay": sum(delays) / len(delays),
        }
