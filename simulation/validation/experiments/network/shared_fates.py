"""Shared by many clients: ports, backlogs, regions that go down together, random fault schedules."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reference.protocol.policies.catalogue import Fixed
from reference.protocol.timers import ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.ports import Ports
from simulation.random import RandomStreams
from simulation.scenario.distributions import Exponential
from simulation.scenario.drawn_faults import DrawnFaults
from simulation.scenario.faults import Outage
from simulation.scenario.paths import AlternatingRenewal, OnOffMarkov, Path, PortPool
from simulation.scenario.scenario import Capacity, ClientPart, Group, Region
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import FaultHappened
from simulation.validation.closed_forms import clients as closed
from simulation.validation.closed_forms.onoff import availability
from simulation.validation.experiment import Expected, TheoryExperiment, require, share
from simulation.validation.experiments.network.queueing import LawName, distribution_of
from simulation.validation.experiments.network.transport import CHECKS, connected_at_s
from simulation.validation.experiments.worlds import absences
from simulation.world import run


@dataclass(frozen=True, kw_only=True)
class OutOfPorts(TheoryExperiment):
    """Connections come as a Poisson process; each holds a port for a while, which waits after its close: Erlang's loss."""

    family: ClassVar[str] = "ports"
    ports: int
    offered: float
    held_s: float
    time_wait_s: float
    law: LawName = "exponential"
    connections: int = 4000

    def expected(self) -> dict[str, Expected]:
        lost = closed.turned_away(self.ports, self.offered)
        return {
            "P(turned away)": Expected(lost, "", 0.05),
            "ports taken": Expected(closed.in_use(self.ports, self.offered), "", 0.02),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, random_source = Clock(), RandomStreams(seed, replication).of("ports")
        pool = Ports(clock, PortPool(ports=self.ports, time_wait_s=self.time_wait_s))
        held, taken, denied = distribution_of(self.law, 1.0), [], []

        def come(call: Call) -> None:
            taken.append(pool.taken)
            is_in = pool.take()
            denied.append(not is_in)
            if is_in:
                lasts_s = self.held_s * held.at(random_source.uniform("held", call.argument))
                Call(clock, clock.now + ns(lasts_s), ARRIVAL, lambda _: pool.give_back(is_reset=self.time_wait_s == 0))

        at_s, between_s = 0.0, (self.held_s + self.time_wait_s) / self.offered
        for number in range(self.connections):
            at_s -= between_s * math.log1p(-random_source.uniform("arrival", number))
            Call(clock, ns(at_s), ARRIVAL, come, number)
        clock.run()
        warm = self.connections // 10
        return {"P(turned away)": float(np.mean(denied[warm:])), "ports taken": float(np.mean(taken[warm:]))}


@dataclass(frozen=True, kw_only=True)
class SynWaves(TheoryExperiment):
    """Many SYNs in one instant, a backlog for some of them, and no cookies: the rest come again each second."""

    family: ClassVar[str] = "ports"
    replications: ClassVar[int] = CHECKS
    clients: int
    backlog: int
    cookies: bool
    latency_s: float = 0.05

    def expected(self) -> dict[str, Expected]:
        waves = 1 if self.cookies else math.ceil(self.clients / self.backlog)
        return {
            "last": Expected(waves - 1 + 6 * self.latency_s, "s"),
            "in the first second": Expected(self.clients if self.cookies else self.backlog, ""),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        scenario = still_world("syns", self.clients, Path(latency_s=self.latency_s)).replace(
            {"server.capacity": Capacity(syn_backlog_max=self.backlog, syn_cookies=self.cookies)},
            client=ClientPart(config=PATIENT_CLIENT),
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        first = sorted(connected_at_s(client)[0] for client in trace_index.clients.values())
        # What is welcomed at one instant is within a few ns, by which one wake-up follows another.
        return {"last": round(first[-1], 6), "in the first second": float(sum(at_s < 0.9 for at_s in first))}


@dataclass(frozen=True, kw_only=True)
class CorrelatedOutages(TheoryExperiment):
    """Clients go down by their own lines, with their cell, and with the region that two cells are in: all independent."""

    family: ClassVar[str] = "regions"
    own_up_s: float = 30.0
    cell_up_s: float = 40.0
    region_up_s: float = 60.0
    down_s: float = 5.0
    clients: int = 3

    def expected(self) -> dict[str, Expected]:
        own, cell, region = (availability(each_s, self.down_s) for each_s in (self.own_up_s, self.cell_up_s, self.region_up_s))
        alone = own * cell * region
        return {
            "P(down)": Expected(1 - alone, "", 0.03),
            "P(both down), one cell": Expected(1 - 2 * alone + own**2 * cell * region, "", 0.06),
            "P(both down), two cells": Expected(1 - 2 * alone + own**2 * cell**2 * region, "", 0.06),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        def process(up_s: float, *, is_shared: bool) -> OnOffMarkov:
            return OnOffMarkov(up_mean_s=up_s, down_mean_s=self.down_s, scope="shared" if is_shared else "client")

        horizon_s, cells = 2000.0, ("a", "b")
        groups = tuple(
            Group(name=name, clients=self.clients, arrive_within_s=0.0, availability=process(self.own_up_s, is_shared=False))
            for name in cells
        )
        regions = (
            *(
                Region(name=f"cell-{name}", groups=(name,), availability=process(self.cell_up_s, is_shared=True))
                for name in cells
            ),
            Region(name="north", groups=cells, availability=process(self.region_up_s, is_shared=True)),
        )
        scenario = still_world("regions", 1).replace(groups=groups, regions=regions, horizon_s=horizon_s)
        times = np.arange(0.5, horizon_s, 1.0)
        down = {name: np.zeros(len(times), dtype=bool) for name in scenario.client_names}
        for record in run(scenario, seed=seed, replication=replication).trace:
            if isinstance(record, FaultHappened):
                for name in record.fault.clients or scenario.client_names:
                    down[name] |= (times >= record.fault.at_s) & (times < record.fault.end_s)
        pairs = [(f"{name}-0", f"{name}-{other}") for name in cells for other in range(1, self.clients)]
        across = [(f"a-{one}", f"b-{other}") for one in range(self.clients) for other in range(self.clients)]
        return {
            "P(down)": float(np.mean([each.mean() for each in down.values()])),
            "P(both down), one cell": float(np.mean([(down[one] & down[other]).mean() for one, other in pairs])),
            "P(both down), two cells": float(np.mean([(down[one] & down[other]).mean() for one, other in across])),
        }


@dataclass(frozen=True, kw_only=True)
class DrawnSchedule(TheoryExperiment):
    """Faults whose gaps are exponential, each of which hits a share of the clients: Poisson counts."""

    family: ClassVar[str] = "schedules"
    every_s: float
    share_hit: float = 1.0
    horizon_s: float = 1000.0
    clients: int = 10

    def expected(self) -> dict[str, Expected]:
        count = self.horizon_s / self.every_s * (1 - (1 - self.share_hit) ** self.clients)
        return {
            "faults": Expected(count, "", 0.03),
            "variance": Expected(count, "", 0.25),
            "hits of a client": Expected(self.horizon_s / self.every_s * self.share_hit, "", 0.03),
            "P(none in the first gap)": share(math.exp(-1.0) if self.share_hit == 1 else self._first_gap, self.replications * 20),
        }

    @property
    def _first_gap(self) -> float:
        return math.exp(-(1 - (1 - self.share_hit) ** self.clients))

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        process = DrawnFaults(
            name="gaps",
            fault=Outage(at_s=0.0, duration_s=1.0),
            every=Exponential(scale=self.every_s),
            share=self.share_hit,
        )
        scenario = still_world("drawn", self.clients).replace(drawn_faults=(process,), horizon_s=self.horizon_s)
        of_each = [scenario.faults_of(RandomStreams(seed, 20 * replication + number)) for number in range(20)]
        counts = np.array([len(faults) for faults in of_each])
        hits = [len(fault.clients) or self.clients for faults in of_each for fault in faults]
        none = [not faults or faults[0].at_s > self.every_s for faults in of_each]
        return {
            "faults": float(counts.mean()),
            "variance": float(np.mean((counts - self.expected()["faults"].value) ** 2)),
            "hits of a client": sum(hits) / 20 / self.clients,
            "P(none in the first gap)": float(np.mean(none)),
        }


@dataclass(frozen=True, kw_only=True)
class UpFromReconnect(TheoryExperiment):
    """What breaks is the connection: each lives for an exponential time, and then nothing does for another one."""

    family: ClassVar[str] = "schedules"
    up_mean_s: float
    down_mean_s: float
    wait_s: float
    clients: int = 5
    absences: int = 8

    def expected(self) -> dict[str, Expected]:
        away_s = closed.away_mean_s(self.wait_s, self.down_mean_s)
        return {
            "away": Expected(away_s, "s", 0.04),
            "from one loss to the next": Expected(self.up_mean_s + away_s, "s", 0.04),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        process = AlternatingRenewal(
            up=Exponential(scale=self.up_mean_s), down=Exponential(scale=self.down_mean_s), effect="cut", up_from="reconnect"
        )
        cycle_s = self.up_mean_s + closed.away_mean_s(self.wait_s, self.down_mean_s)
        scenario = still_world("fragile", self.clients).replace(
            {"groups.c.availability": process},
            client=ClientPart(config=PATIENT_CLIENT, policy=Fixed(seconds=self.wait_s)),
            horizon_s=5 * (self.absences + 1) * cycle_s,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        away, cycles = [], []
        for client in trace_index.clients.values():
            found = [each for each in absences(client, trace_index.ended_at) if each.has_returned]
            require(len(found) > self.absences, f"{client.name} is away often enough")
            # So many of each, whatever time they take: all that fit into a time would be too many short ones.
            away += [each.duration_s for each in found[: self.absences]]
            starts = [each.start_s for each in found[: self.absences + 1]]
            cycles += list(np.diff(starts))
        return {"away": float(np.mean(away)), "from one loss to the next": float(np.mean(cycles))}
