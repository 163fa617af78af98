"""Loss in bursts, in time: the process alone, and its effect on TCP for packets that are far apart."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.delay import PathDirection
from simulation.network.loss import losses_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.paths import FadingLoss, Path
from simulation.validation.closed_forms import fades
from simulation.validation.experiment import Expected, TheoryExperiment, share

LATENCY_S = 0.02
RTO_S = 0.24
"""Of a connection whose round trips are 40 ms."""


@dataclass(frozen=True, kw_only=True)
class Fading(TheoryExperiment):
    """Which packets of an even stream are lost."""

    family: ClassVar[str] = "fades"
    good_ms: float
    bad_ms: float
    interval_ms: float = 10.0
    packets: int = 20_000

    def expected(self) -> dict[str, Expected]:
        times = (self.good_ms / 1000, self.bad_ms / 1000)
        apart_s = self.interval_ms / 1000
        return {
            "loss": Expected(fades.share(*times), "", 0.05),
            "P(lost | the one before was)": Expected(fades.lost_again(apart_s, *times), "", 0.02),
            "correlation, lag 1": Expected(fades.correlation(apart_s, *times), "", 0.05),
            "correlation, lag 5": Expected(fades.correlation(5 * apart_s, *times), "", 0.1),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        loss = FadingLoss(good_ms=self.good_ms, bad_ms=self.bad_ms)
        process = losses_of(loss, RandomStreams(seed, replication).of("path"))
        interval = ns(self.interval_ms / 1000)
        is_lost = np.array([process.is_lost(packet, 0, packet * interval) for packet in range(self.packets)])
        right = fades.share(self.good_ms, self.bad_ms)
        off, variance = is_lost - right, right * (1 - right)
        return {
            "loss": float(is_lost.mean()),
            # From the known share, so that the quotient has no bias.
            "P(lost | the one before was)": float(np.mean(is_lost[1:] & is_lost[:-1])) / right,
            "correlation, lag 1": float(np.mean(off[1:] * off[:-1])) / variance,
            "correlation, lag 5": float(np.mean(off[5:] * off[:-5])) / variance,
        }


@dataclass(frozen=True, kw_only=True)
class LonePackets(TheoryExperiment):
    """How often a packet of a sparse stream is late by so many timeouts. One lane, driven directly."""

    family: ClassVar[str] = "fades"
    good_ms: float
    bad_ms: float
    packets: int = 2000

    def expected(self) -> dict[str, Expected]:
        times = (self.good_ms / 1000, self.bad_ms / 1000)
        return {
            f"P(lost {times_lost} times)": share(fades.lost_times(times_lost, RTO_S, *times), 60 * self.packets)
            for times_lost in (1, 2)
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, late = Clock(), []
        path = Path(latency_s=LATENCY_S, loss=FadingLoss(good_ms=self.good_ms, bad_ms=self.bad_ms))
        lane = SimulatedPipe(clock, PathDirection(path, is_up=True), RandomStreams(seed, replication).of("lane"))

        def arrived(sent_at: int) -> None:
            late.append((clock.now - sent_at) / NS_PER_S - LATENCY_S)

        warm = 40  # until the timeout is that of a connection that knows its path
        for number in range(warm + self.packets):
            Call(clock, ns(number * 300.0), ARRIVAL, lambda _: lane.push(arrived, clock.now, 1000))
        clock.run()
        after = np.array(late[warm:])
        return {
            "P(lost 1 times)": float(np.mean(after > RTO_S / 2)),
            "P(lost 2 times)": float(np.mean(after > 2 * RTO_S)),
        }
