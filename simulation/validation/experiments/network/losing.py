"""Packet loss: its bursts, and its effect on TCP."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.delay import PathDirection
from simulation.network.loss import losses_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.paths import BernoulliLoss, GilbertElliottLoss, Path
from simulation.validation.closed_forms import loss, tcp
from simulation.validation.experiment import Expected, TheoryExperiment

LAG = 5


@dataclass(frozen=True, kw_only=True)
class Bursts(TheoryExperiment):
    """Which packets the Gilbert-Elliott process of a path loses."""

    family: ClassVar[str] = "loss"
    good_to_bad: float
    bad_to_good: float
    packets: int = 10_000

    def expected(self) -> dict[str, Expected]:
        p, r = self.good_to_bad, self.bad_to_good
        return {
            "loss": Expected(loss.loss_share(p, r), "", 0.03),
            "mean burst": Expected(loss.burst_mean(r), "packets", 0.02),
            "P(burst > 2)": Expected(loss.burst_longer_than(2, r), "", 0.04),
            "correlation, lag 1": Expected(loss.correlation(1, p, r), "", 0.04),
            f"correlation, lag {LAG}": Expected(loss.correlation(LAG, p, r), "", 0.1),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        process = losses_of(
            GilbertElliottLoss(good_to_bad=self.good_to_bad, bad_to_good=self.bad_to_good),
            RandomStreams(seed, replication).of("path"),
        )
        is_lost = np.array([process.is_lost(packet) for packet in range(self.packets)])
        share = loss.loss_share(self.good_to_bad, self.bad_to_good)
        off = is_lost - share  # from the known mean, so that the estimate has no bias
        variance = share * (1 - share)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], is_lost, [False]]).astype(int)))
        bursts = edges[1::2] - edges[::2]
        return {
            "loss": float(is_lost.mean()),
            "mean burst": float(bursts.mean()),
            "P(burst > 2)": float(np.mean(bursts > 2)),
            "correlation, lag 1": float(np.mean(off[1:] * off[:-1])) / variance,
            f"correlation, lag {LAG}": float(np.mean(off[LAG:] * off[:-LAG])) / variance,
        }


@dataclass(frozen=True, kw_only=True)
class Repeats(TheoryExperiment):
    """Single packets, far apart, on a path that loses each try with the same probability: only timeouts can help. One lane,
    driven directly."""

    family: ClassVar[str] = "loss"
    loss: float
    packets: int = 1000
    apart_s: float = 10_000.0
    latency_s: float = 0.01

    def expected(self) -> dict[str, Expected]:
        return {
            "P(late)": Expected(self.loss, "", 0.03),
            "mean lateness": Expected(tcp.repeats_mean_s(self.loss, 2 * self.latency_s + tcp.RTO_MIN_S), "s", 0.06),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock = Clock()
        path = Path(latency_s=self.latency_s, loss=BernoulliLoss(probability=self.loss))
        lane = SimulatedPipe(clock, PathDirection(path, is_up=True), RandomStreams(seed, replication).of("lane"))
        late: list[float] = []

        def arrived(sent_at: int) -> None:
            late.append((clock.now - sent_at) / NS_PER_S - self.latency_s)

        for number in range(self.packets):
            Call(clock, ns(number * self.apart_s), ARRIVAL, lambda _: lane.push(arrived, clock.now, 1000))
        clock.run()
        after = np.array(late[20:])  # the first timeouts are longer: no round trip was measured before
        return {"P(late)": float(np.mean(after > 1e-9)), "mean lateness": float(after.mean())}
