"""Linux's TCP: lost resets, the retransmission timeout, slow start; without random numbers."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.delay import PathDirection
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.network.tcp import RoundTripEstimate
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import Outage, ServerRestart
from simulation.scenario.paths import Path, Tcp
from simulation.scenario.population import FlashCrowd
from simulation.scenario.scenario import ClientPart, Group
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.validation.closed_forms import linux, tcp
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.validation.experiments.network.transport import CHECKS, Kernel, connected_at_s, ended_at_s
from simulation.world import run

SEGMENTS: dict[str, tuple[float, ...]] = {
    "constant, 10 ms": (0.01,) * 40,
    "constant, 300 ms": (0.3,) * 40,
    "a step up": (0.05,) * 10 + (0.4,) * 30,
    "a step down": (0.8,) * 10 + (0.1,) * 30,
    "a spike": (0.05,) * 5 + (2.0,) + (0.05,) * 34,
    "by turns": (0.1, 0.3) * 20,
}
"""Round trips that a connection measures, in seconds."""
AFTER = (1, 2, 6, 11, 40)


@dataclass(frozen=True, kw_only=True)
class SwallowedRefusal(TheoryExperiment):
    """A client dials while no server runs, and an outage swallows the refusal. The first SYN after it connects the client."""

    family: ClassVar[str] = "reset"
    replications: ClassVar[int] = CHECKS
    kernel: Kernel
    outage_s: float
    latency_s: float = 0.08

    def expected(self) -> dict[str, Expected]:
        times_s, _ = tcp.syn_times_s(linear=self.kernel == "linux_6_5")
        syn_s = next(at_s for at_s in times_s if at_s >= 1.5 * self.latency_s + self.outage_s)
        return {"welcomed": Expected(syn_s + 6 * self.latency_s, "s"), "refused": Expected(0.0, "times")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        dials_s = 31.88
        path = Path(latency_s=self.latency_s, tcp=Tcp(syn=self.kernel, resumes="rto"))
        group = Group(name="c", path=path, arrivals=FlashCrowd(at_s=dials_s, delay=Constant(value=0.0)))
        scenario = still_world("refused", 1).replace(
            groups=(group,),
            client=ClientPart(config=PATIENT_CLIENT),
            faults=(
                ServerRestart(at_s=30.0, duration_s=dials_s + 1.25 * self.latency_s - 30.0),
                Outage(at_s=dials_s + 1.5 * self.latency_s, duration_s=self.outage_s),
            ),
            settle_s=100.0,
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        times = connected_at_s(client)
        require(bool(times), "the client is connected in the end")
        return {"welcomed": times[0] - dials_s, "refused": float(len(ended_at_s(client)))}


@dataclass(frozen=True, kw_only=True)
class SwallowedReset(TheoryExperiment):
    """A server is killed in an outage. The client hears of it by the answer to its first ping that gets through: the one that was
    sent again when the outage was over, or the next one."""

    family: ClassVar[str] = "reset"
    replications: ClassVar[int] = CHECKS
    ping_s: float
    outage_s: float
    latency_s: float = 0.05

    def expected(self) -> dict[str, Expected]:
        begins_s, ends_s, first_s = 100.0, 100.0 + self.outage_s, 6 * self.latency_s
        pings = [first_s + number * self.ping_s for number in range(1, 1000)]
        in_outage = [at_s for at_s in pings if begins_s - self.latency_s < at_s < ends_s]
        heard_s = ends_s if in_outage else next(at_s for at_s in pings if at_s >= ends_s)
        return {"told": Expected(heard_s + 2 * self.latency_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.ping_s)
        scenario = still_world("killed", 1, Path(latency_s=self.latency_s)).replace(
            client=ClientPart(config=config),
            faults=(Outage(at_s=100.0, duration_s=self.outage_s), ServerRestart(at_s=100.2, duration_s=0.1)),
            settle_s=500.0,
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        ended = ended_at_s(client)
        require(bool(ended), "the connection is lost")
        return {"told": ended[0]}


@dataclass(frozen=True, kw_only=True)
class Timeout(TheoryExperiment):
    """The timeout of a connection that has measured these round trips, against a table computed by the kernel's rules."""

    family: ClassVar[str] = "rto"
    replications: ClassVar[int] = CHECKS
    measured: str

    def expected(self) -> dict[str, Expected]:
        return {
            f"after {count} round trips": Expected(1e6 * linux.rto_s(SEGMENTS[self.measured][:count]), "us") for count in AFTER
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        estimate, now, reported = RoundTripEstimate(Tcp()), 0, {}
        for number, round_trip_s in enumerate(SEGMENTS[self.measured], 1):
            estimate.measured(ns(round_trip_s), now)
            now += ns(round_trip_s)
            if number in AFTER:
                # The kernel counts in microseconds, the simulator in whole nanoseconds: a hundredth of the former is equal.
                right = linux.rto_s(SEGMENTS[self.measured][:number])
                found = estimate.rto / NS_PER_S
                reported[f"after {number} round trips"] = 1e6 * (right if abs(found - right) < 1e-8 * number else found)
        return reported


@dataclass(frozen=True, kw_only=True)
class Flights(TheoryExperiment):
    """A snapshot that is sent on a new connection, or on one that was idle: one lane, driven directly."""

    family: ClassVar[str] = "slow start"
    replications: ClassVar[int] = CHECKS
    kilobytes: int
    latency_s: float = 0.1
    window: int = 10
    most: int = 2000
    before: Literal["nothing", "the same", "the same, an hour ago"] = "nothing"

    @property
    def _tcp(self) -> Tcp:
        most_bytes = self.most * 1460
        return Tcp(congestion="linux", initial_window_packets=self.window, receive_window_bytes=most_bytes)

    def expected(self) -> dict[str, Expected]:
        window, packets = self.window, -(-self.kilobytes * 1000 // 1460)
        if self.before == "the same":  # each packet that was acknowledged has made the window one larger, of which half was used
            window = min(self.most, self.window + packets)
        return {"arrives": Expected(linux.transfer_s(self.kilobytes * 1000, self.latency_s, 1460, window, self.most), "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, arrived = Clock(), [0]
        direction = PathDirection(Path(latency_s=self.latency_s, tcp=self._tcp), is_up=False)
        lane = SimulatedPipe(clock, direction, RandomStreams(seed, replication).of("lane"))
        second: dict[str, list[float | None]] = {"nothing": [], "the same": [None], "the same, an hour ago": [3600.0]}

        def send(_: object = None) -> None:
            lane.push(lambda _: arrived.append(clock.now), None, self.kilobytes * 1000)

        began = 0
        for start_s in (0.0, *second[self.before]):
            # "the same" follows as soon as all is acknowledged, within one timeout
            began = arrived[-1] + ns(self.latency_s) + 1 if start_s is None else ns(start_s)
            Call(clock, began, ARRIVAL, send)
            clock.run()
        return {"arrives": (arrived[-1] - began) / NS_PER_S}
