"""A bottleneck that clients share: processor sharing, driven directly, and whole worlds in which everyone downloads at once."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.cell import SimulatedCell
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.paths import Path
from simulation.validation.closed_forms import sharing
from simulation.validation.experiment import Expected, TheoryExperiment
from simulation.validation.experiments.network.queueing import LawName, distribution_of
from simulation.validation.experiments.network.transport import CHECKS


@dataclass(frozen=True, kw_only=True)
class SharedCell(TheoryExperiment):
    """Clients that come as a Poisson process, each with one download: M/G/1 with processor sharing."""

    family: ClassVar[str] = "sharing"
    law: LawName
    load: float
    size_bytes: int = 50_000
    bytes_per_s: float = 1e6
    downloads: int = 3000

    def expected(self) -> dict[str, Expected]:
        return {
            "mean time": Expected(sharing.mean_time_s(self.size_bytes / self.bytes_per_s, self.load), "s", 0.05),
            "P(alone)": Expected(sharing.alone(self.load), "", 0.05),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, random_source = Clock(), RandomStreams(seed, replication).of("cell")
        cell, sizes = SimulatedCell(clock, self.bytes_per_s), distribution_of(self.law, self.size_bytes)
        times, alone, under_way = [], [], [0]

        def come(call: Call) -> None:
            came_at, number = clock.now, call.argument

            def leave() -> None:
                under_way[0] -= 1
                times.append((clock.now - came_at) / NS_PER_S)

            alone.append(under_way[0] == 0)
            under_way[0] += 1
            cell.enter(f"c-{number}", max(1, round(sizes.at(random_source.uniform("size", number)))), leave)

        at_s = 0.0
        for number in range(self.downloads):
            at_s -= self.size_bytes / self.bytes_per_s / self.load * math.log1p(-random_source.uniform("arrival", number))
            Call(clock, ns(at_s), ARRIVAL, come, number)
        clock.run()
        warm = self.downloads // 10
        return {"mean time": float(np.mean(times[warm:])), "P(alone)": float(np.mean(alone[warm:]))}


@dataclass(frozen=True, kw_only=True)
class AllAtOnce(TheoryExperiment):
    """So many clients of one cell are sent a snapshot at the same moment, each on a connection of its own."""

    family: ClassVar[str] = "sharing"
    replications: ClassVar[int] = CHECKS
    clients: int
    kilobytes: int = 100
    bytes_per_s: float = 1e6
    latency_s: float = 0.05

    def expected(self) -> dict[str, Expected]:
        together_s = sharing.together_s(self.clients, 1000 * self.kilobytes, self.bytes_per_s)
        return {"first": Expected(together_s + self.latency_s, "s"), "last": Expected(together_s + self.latency_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, arrived = Clock(), []
        cell = SimulatedCell(clock, self.bytes_per_s)
        direction = directions_of(Path(latency_s=self.latency_s)).down
        for number in range(self.clients):
            lane = SimulatedPipe(
                clock,
                direction,
                RandomStreams(seed, replication).of(f"c-{number}"),
                enter_cell=partial(cell.enter, f"c-{number}"),
            )
            lane.push(lambda _: arrived.append(clock.now / NS_PER_S), None, 1000 * self.kilobytes)
        clock.run()
        return {"first": arrived[0], "last": arrived[-1]}
