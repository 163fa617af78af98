"""How often an outage overflows a client's outbox, in whole worlds: one client that publishes, and a line with many outages."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from reference.protocol.timers import NS_PER_S
from simulation.random import RandomStreams
from simulation.scenario.faults import Outage
from simulation.scenario.scenario import ClientPart
from simulation.scenario.still_world import PATIENT_CLIENT, QUIET, still_world
from simulation.trace.trace import PublishRefused
from simulation.validation.closed_forms import outbox
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run

UP_S = 1.0
"""Between two outages. The network takes no time, so the outbox is empty at once."""


@dataclass(frozen=True, kw_only=True)
class OverflowInAnOutage(TheoryExperiment):
    """Publishes come as a Poisson process; what finds the outbox full is refused."""

    family: ClassVar[str] = "outbox"
    limit: int
    messages_per_s: float
    outage_mean_s: float
    outages: int = 40

    def expected(self) -> dict[str, Expected]:
        arguments = (self.limit, self.messages_per_s, self.outage_mean_s)
        return {
            "P(overflow)": Expected(outbox.overflows(*arguments), "", 0.05),
            "refused per outage": Expected(outbox.overflow_mean(*arguments), "messages", 0.08),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        random_source = RandomStreams(seed, replication).of("outages")
        faults, now_s = [], UP_S
        for number in range(self.outages):
            lasts_s = -self.outage_mean_s * math.log1p(-random_source.uniform("duration", number))
            faults.append(Outage(at_s=now_s, duration_s=lasts_s))
            now_s += lasts_s + UP_S
        config = msgspec.structs.replace(
            PATIENT_CLIENT,
            outbox_messages_max=self.limit,
            unanswered_max=min(self.limit, PATIENT_CLIENT.unanswered_max),
            outbox_age_max_s=86_400.0,
        )
        scenario = still_world("outbox", 1).replace(
            client=ClientPart(config=config),
            faults=tuple(faults),
            workload=msgspec.structs.replace(QUIET, chat_per_s=self.messages_per_s),
            horizon_s=now_s,
            settle_s=UP_S,
        )
        result = run(scenario, seed=seed, replication=replication)
        client = result.trace_index.clients["c-0"]
        begins = [fault.at_s for fault in faults]
        refused_in = [0] * self.outages
        for record in client.records:
            if isinstance(record, PublishRefused):
                refused_in[bisect_right(begins, record.at / NS_PER_S) - 1] += 1
        counts = result.counts
        require(counts.accepted == counts.published, "what the outbox took is accepted in the end")
        return {
            "P(overflow)": sum(count > 0 for count in refused_in) / self.outages,
            "refused per outage": sum(refused_in) / self.outages,
        }
