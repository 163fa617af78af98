"""Queues: the server's processors and the bottleneck of a path, in the steady state."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import numpy as np

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.hosts.capacity import ProcessorQueue
from simulation.network.delay import PathDirection
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Distribution, Exponential, Uniform
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Capacity, ClientPart
from simulation.scenario.still_world import NEVER_S, PATIENT_CLIENT, PATIENT_SERVER, QUIET, still_world
from simulation.trace.trace import QueueSampled, Trace, WorkSampled
from simulation.validation.closed_forms import queues
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run

LawName = Literal["constant", "exponential", "uniform"]
SAMPLES_PER_S = 5
CLIENTS = 4


def distribution_of(name: LawName, mean: float) -> Distribution:
    """A law with this mean; uniform from 0."""
    distributions: dict[str, Distribution] = {
        "constant": Constant(value=mean),
        "exponential": Exponential(scale=mean),
        "uniform": Uniform(high=2 * mean),
    }
    return distributions[name]


MEAN_SQUARES: dict[LawName, float] = {"constant": 1.0, "exponential": 2.0, "uniform": 4 / 3}
"""E[S**2] / E[S]**2."""


@dataclass(frozen=True, kw_only=True)
class ServerQueue(TheoryExperiment):
    """Frames of a few clients at a server with one processor, in a whole world: M/D/1, M/G/1, M/M/1. Every frame is a cursor
    move, so nothing is stored, and nothing is handed out before the run ends."""

    family: ClassVar[str] = "queues"
    law: LawName
    load: float
    service_s: float = 0.01
    frames: int = 700

    @property
    def _arrivals_per_s(self) -> float:
        return self.load / self.service_s

    def expected(self) -> dict[str, Expected]:
        rate = self._arrivals_per_s
        wait_s = queues.mg1_wait_mean_s(rate, self.service_s, MEAN_SQUARES[self.law] * self.service_s**2)
        return {
            "mean wait": Expected(wait_s, "s", 0.05),
            "busy share": Expected(self.load, "", 0.01),
            "waiting (Little)": Expected(rate * wait_s, "frames", 0.08),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        warm_up_s, lasts_s = 50 * self.service_s / (1 - self.load), self.frames / self._arrivals_per_s
        warm_up_s = math.ceil(10 + warm_up_s)
        config = msgspec.structs.replace(PATIENT_SERVER, cursor_interval_s=NEVER_S, frames_per_s=1e6, frame_burst=10**6)
        capacity = Capacity(frame_cost=distribution_of(self.law, self.service_s))
        scenario = still_world("server_queue", CLIENTS).replace(
            {"server.config": config, "server.capacity": capacity},
            client=ClientPart(config=msgspec.structs.replace(PATIENT_CLIENT, cursor_interval_s=0.0)),
            workload=msgspec.structs.replace(QUIET, cursor_per_s=self._arrivals_per_s / CLIENTS),
            sample_interval_s=1 / SAMPLES_PER_S,
            horizon_s=warm_up_s + lasts_s,
        )
        trace = run(scenario, seed=seed, replication=replication).trace
        begins = ns(warm_up_s)
        work = [record for record in trace if isinstance(record, WorkSampled) and record.at > begins]
        jobs = sum(record.jobs for record in work)
        require(jobs > 0, "the server is busy")
        samples_s = np.arange(warm_up_s, warm_up_s + lasts_s, 1 / SAMPLES_PER_S)[1:]
        return {
            "mean wait": sum(record.waited_s for record in work) / jobs,
            "busy share": sum(record.busy_s for record in work) * NS_PER_S / (work[-1].at - begins),
            "waiting (Little)": float(np.mean(_lengths_at(trace, "work queue", samples_s))),
        }


def _lengths_at(trace: Trace, queue: str, times_s: np.ndarray) -> np.ndarray:
    """A sampled length at these times: that of the last sample that differed."""
    records = [record for record in trace if isinstance(record, QueueSampled) and record.queue == queue]
    changes_s = np.array([record.at / NS_PER_S for record in records])
    lengths = np.array([0, *(record.length for record in records)])
    return np.asarray(lengths[np.searchsorted(changes_s, times_s, side="right")])


@dataclass(frozen=True, kw_only=True)
class Processors(TheoryExperiment):
    """M/M/c by the server's queue of work alone: in a world the frames of one connection keep their order, and so its processors
    are not quite independent."""

    family: ClassVar[str] = "queues"
    processors: int
    load: float
    service_s: float = 0.01
    jobs: int = 4000

    def expected(self) -> dict[str, Expected]:
        rate = self.load * self.processors / self.service_s
        return {
            "mean wait": Expected(queues.mmc_wait_mean_s(rate, self.service_s, self.processors), "s", 0.06),
            "P(wait)": Expected(queues.mmc_waits(rate, self.service_s, self.processors), "", 0.03),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, random_source = Clock(), RandomStreams(seed, replication).of("processors")
        work, waits = ProcessorQueue(clock, self.processors), []

        def done(job: tuple[int, int]) -> None:
            came_at, cost = job
            waits.append(clock.now - came_at - cost)

        def come(call: Call) -> None:
            cost = ns(-self.service_s * math.log1p(-random_source.uniform("service", call.argument)))
            work.submit(cost, done, (clock.now, cost))

        at_s = 0.0
        for index in range(self.jobs):
            at_s -= self.service_s / self.load / self.processors * math.log1p(-random_source.uniform("arrival", index))
            Call(clock, ns(at_s), ARRIVAL, come, index)
        clock.run()
        steady = np.array(waits[self.jobs // 10 :])
        return {"mean wait": float(steady.mean()) / NS_PER_S, "P(wait)": float(np.mean(steady > 0))}


@dataclass(frozen=True, kw_only=True)
class Bottleneck(TheoryExperiment):
    """Frames that come as a Poisson process to a path with a bandwidth: M/D/1 for equal sizes, M/M/1 for exponential ones. One
    lane, driven directly."""

    family: ClassVar[str] = "queues"
    law: LawName
    load: float
    size_bytes: int = 10_000
    bandwidth_bytes_per_s: float = 1e6
    frames: int = 2000

    @property
    def _service_s(self) -> float:
        return self.size_bytes / self.bandwidth_bytes_per_s

    def expected(self) -> dict[str, Expected]:
        rate, service_s = self.load / self._service_s, self._service_s
        cdf = queues.md1_wait_cdf if self.law == "constant" else queues.mm1_wait_cdf
        square = MEAN_SQUARES[self.law] * service_s**2
        return {
            "mean wait": Expected(queues.mg1_wait_mean_s(rate, service_s, square), "s", 0.05),
            "P(no wait)": Expected(cdf(rate, service_s, 0.0), "", 0.03),
            "P(wait <= 2 services)": Expected(cdf(rate, service_s, 2 * service_s), "", 0.02),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, random_source = Clock(), RandomStreams(seed, replication).of("bottleneck")
        way = PathDirection(Path(latency_s=0.03, bandwidth_bytes_per_s=self.bandwidth_bytes_per_s), is_up=True)
        lane = SimulatedPipe(clock, way, random_source)
        sizes = distribution_of(self.law, self.size_bytes)
        waits: list[float] = []

        def arrived(sent: tuple[int, int]) -> None:
            at, size = sent
            waits.append((clock.now - at) / NS_PER_S - 0.03 - size / self.bandwidth_bytes_per_s)

        def send(call: Call) -> None:
            size = max(1, round(sizes.at(random_source.uniform("size", call.argument))))
            lane.push(arrived, (clock.now, size), size)

        at_s = 0.0
        for index in range(self.frames):
            at_s -= self._service_s / self.load * math.log1p(-random_source.uniform("arrival", index))
            Call(clock, ns(at_s), ARRIVAL, send, index)
        clock.run()
        steady = np.array(waits[self.frames // 10 :])
        return {
            "mean wait": float(steady.mean()),
            "P(no wait)": float(np.mean(steady < 1e-8)),
            "P(wait <= 2 services)": float(np.mean(steady <= 2 * self._service_s)),
        }
