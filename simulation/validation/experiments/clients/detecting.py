"""How long a dead connection looks alive, in whole worlds: each client's connection goes half-open at a phase of its own."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np

from reference.protocol.errors import CloseCode
from reference.protocol.timers import NS_PER_S
from simulation.random import RandomStreams
from simulation.scenario.faults import HalfOpen, Path
from simulation.scenario.scenario import ClientPart
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import ConnectionLeft
from simulation.validation.closed_forms import detection
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run


@dataclass(frozen=True, kw_only=True)
class HalfOpenConnection(TheoryExperiment):
    """From the black hole until the client gives the connection up."""

    family: ClassVar[str] = "detection"
    interval_s: float
    timeout_s: float
    round_trip_s: float
    clients: int = 50

    def expected(self) -> dict[str, Expected]:
        timing = (self.interval_s, self.timeout_s, self.round_trip_s)
        return {
            "mean delay": Expected(detection.mean_s(*timing), "s", 0.01),
            "5 % quantile": Expected(detection.quantile_s(0.05, *timing), "s", 0.02),
            "95 % quantile": Expected(detection.quantile_s(0.95, *timing), "s", 0.01),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        random_source = RandomStreams(seed, replication).of("black holes")
        begins_s = 5 * self.interval_s
        died_s = {f"c-{n}": begins_s + self.interval_s * random_source.uniform("phase", n) for n in range(self.clients)}
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.interval_s, ping_timeout_s=self.timeout_s)
        scenario = still_world("half_open", self.clients, Path(latency_s=self.round_trip_s / 2)).replace(
            client=ClientPart(config=config),
            faults=tuple(HalfOpen(at_s=at_s, clients=(client,)) for client, at_s in died_s.items()),
            settle_s=self.interval_s + 2 * self.timeout_s,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        delays = [
            record.at / NS_PER_S - died_s[client.name]
            for client in trace_index.clients.values()
            for record in client.records
            if isinstance(record, ConnectionLeft) and record.code == CloseCode.HEARTBEAT_LOST
        ]
        require(len(delays) == self.clients, "everyone notices once")
        low, high = np.quantile(delays, (0.05, 0.95), method="weibull")  # without bias for uniform delays
        return {"mean delay": float(np.mean(delays)), "5 % quantile": float(low), "95 % quantile": float(high)}
