"""How late HTTP polling is, in whole worlds: readers whose WebSockets are blocked, and one writer whose network takes no time."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np

from simulation.results.frames import Frames
from simulation.scenario.faults import BlockUpgrade, Path
from simulation.scenario.scenario import ClientPart, Group
from simulation.scenario.still_world import AT_ONCE, NEVER_S, PATIENT_CLIENT, QUIET, still_world
from simulation.validation.closed_forms import polling
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run


@dataclass(frozen=True, kw_only=True)
class PlainPolling(TheoryExperiment):
    """From the server's having an event to a polling client's having it. The clients' polls have phases of their own."""

    family: ClassVar[str] = "polling"
    interval_s: float
    round_trip_s: float
    clients: int = 5
    events: int = 60

    def expected(self) -> dict[str, Expected]:
        timing = (self.interval_s, self.round_trip_s)
        return {
            "mean delay": Expected(polling.mean_s(*timing), "s", 0.01),
            "95 % quantile": Expected(polling.quantile_s(0.95, *timing), "s", 0.01),
            "P(delay > 0.5 s)": Expected(1 - (0.5 - self.round_trip_s / 2) / (self.interval_s + self.round_trip_s), "", 0.02),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        period_s = self.interval_s + self.round_trip_s
        lasts_s, warm_up_s = self.events * period_s, 10 * period_s
        config = msgspec.structs.replace(
            PATIENT_CLIENT,
            fallback_after_failures=1,
            poll_interval_s=self.interval_s,
            probe_interval_s=NEVER_S,
            probe_interval_max_s=NEVER_S,
        )
        readers = Group(
            name="reader",
            clients=self.clients,
            path=Path(latency_s=self.round_trip_s / 2),
            arrive_within_s=period_s,
            workload=QUIET,
        )
        writer = Group(name="writer", path=AT_ONCE, arrive_within_s=0.0)
        scenario = still_world("polling", 1).replace(
            groups=(readers, writer),
            client=ClientPart(config=config),
            faults=(BlockUpgrade(at_s=0, duration_s=warm_up_s + lasts_s, clients=("reader",)),),
            workload=msgspec.structs.replace(QUIET, chat_per_s=self.events / lasts_s),
            horizon_s=warm_up_s + lasts_s,
            settle_s=2 * period_s,
        )
        result = run(scenario, seed=seed, replication=replication)
        messages = Frames(result.trace_index)["messages"]
        is_meant = (messages["sender"] == "writer-0") & (messages["reader"] != "writer-0") & (messages["published_s"] > warm_up_s)
        messages = messages[is_meant]
        require(bool(messages["is_delivered"].all()), "polling loses nothing")
        delays = messages["latency_s"].to_numpy()
        return {
            "mean delay": float(delays.mean()),
            "95 % quantile": float(np.quantile(delays, 0.95, method="weibull")),  # without bias for uniform delays
            "P(delay > 0.5 s)": float(np.mean(delays > 0.5)),
        }
