"""TCP's schedules and the middleboxes', in whole worlds. They have no random numbers, so results must be exact."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import FAULT, Call, Clock
from simulation.network.delay import PathDirection
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.faults import Outage
from simulation.scenario.paths import Middlebox, Path, Tcp
from simulation.scenario.scenario import ClientPart, Group
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.index import ClientIndex
from simulation.trace.trace import ConnectionLeft, ConnectionLost, StateTurned
from simulation.validation.closed_forms import tcp
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run

Kernel = Literal["classic", "linux_6_5"]
KERNELS: tuple[Kernel, ...] = ("classic", "linux_6_5")
CHECKS = 2
"""Replications of what has no chance in it."""


def connected_at_s(client: ClientIndex) -> list[float]:
    """When something came to carry this client."""
    times, was_connected = [], False
    for record in client.records:
        if isinstance(record, StateTurned):
            if record.is_carried and not was_connected:
                times.append(record.at / NS_PER_S)
            was_connected = record.is_carried
    return times


def ended_at_s(client: ClientIndex) -> list[float]:
    """When its connections ended."""
    return [record.at / NS_PER_S for record in client.records if isinstance(record, ConnectionLost | ConnectionLeft)]


@dataclass(frozen=True, kw_only=True)
class Dialling(TheoryExperiment):
    """A client connects during an outage: it is connected with the first SYN after it, or its kernel reports that the server does
    not answer."""

    family: ClassVar[str] = "tcp"
    replications: ClassVar[int] = CHECKS
    kernel: Kernel
    outage_s: float

    def expected(self) -> dict[str, Expected]:
        times_s, gives_up_s = tcp.syn_times_s(linear=self.kernel == "linux_6_5")
        after = [at_s for at_s in times_s if at_s > self.outage_s]
        return {"connected": Expected(after[0], "s")} if after else {"given up": Expected(gives_up_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        path = Path(latency_s=0.0, tcp=Tcp(syn=self.kernel, resumes="rto"))
        scenario = still_world("dialling", 1, path).replace(
            groups=(Group(name="c", path=path, arrive_within_s=0.1),),
            client=ClientPart(config=PATIENT_CLIENT),
            faults=(Outage(at_s=0.0, duration_s=self.outage_s),),
            settle_s=200.0,
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        dialled_s = client.started_at / NS_PER_S
        reported = {"connected": connected_at_s(client), "given up": ended_at_s(client)}
        return {what: times[0] - dialled_s for what, times in reported.items() if times}


@dataclass(frozen=True, kw_only=True)
class Silence(TheoryExperiment):
    """Data sent as the line goes down: it arrives with the first retransmission after the silence, or the kernel gives up. One
    lane, driven directly."""

    family: ClassVar[str] = "tcp"
    replications: ClassVar[int] = CHECKS
    outage_s: float
    latency_s: float = 0.0

    def expected(self) -> dict[str, Expected]:
        times_s, gives_up_s = tcp.retransmissions_s(tcp.RETRIES, 2 * self.latency_s + tcp.RTO_MIN_S)
        after = [at_s for at_s in times_s if at_s >= self.outage_s]
        return {"arrives": Expected(after[0] + self.latency_s, "s")} if after else {"given up": Expected(gives_up_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        clock, reported = Clock(), {}
        down_at_s = 10.0

        class Owner:
            def part_arrived(self, lane: SimulatedPipe) -> None: ...

            def room_made(self, lane: SimulatedPipe) -> None: ...

            def reset_lost(self, lane: SimulatedPipe) -> None: ...

            def is_late(self, until: int) -> None: ...

            def gave_up(self, lane: SimulatedPipe) -> None:
                reported["given up"] = clock.now / NS_PER_S - down_at_s

        path = Path(latency_s=self.latency_s, tcp=Tcp(resumes="rto"))
        lane = SimulatedPipe(clock, PathDirection(path, is_up=True), RandomStreams(seed, replication).of("lane"), Owner())

        def arrived(_: None) -> None:
            reported["arrives"] = clock.now / NS_PER_S - down_at_s

        def goes_down(_: Call) -> None:
            lane.hold()
            lane.push(arrived, None, 100)

        lane.push(lambda _: None, None, 100)  # so that the round trip is known
        Call(clock, ns(down_at_s), FAULT, goes_down)
        Call(clock, ns(down_at_s + self.outage_s), FAULT, lambda _: lane.release())
        clock.run(until=ns(down_at_s + self.outage_s + 1000))
        return reported


@dataclass(frozen=True, kw_only=True)
class IdleKiller(TheoryExperiment):
    """A middlebox that forgets idle connections. It is silent: then the next ping finds out; or it resets both ends. A ping that
    comes sooner keeps the connection for ever."""

    family: ClassVar[str] = "tcp"
    replications: ClassVar[int] = CHECKS
    idle_s: float
    ping_s: float
    effect: Literal["silent", "reset"] = "silent"
    timeout_s: float = 10.0

    def expected(self) -> dict[str, Expected]:
        if self.ping_s < self.idle_s:
            return {"connections lost in two hours": Expected(0.0, "")}
        life_s = self.idle_s if self.effect == "reset" else self.ping_s + self.timeout_s
        return {"life of a connection": Expected(life_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        path = Path(latency_s=0.0, middlebox=Middlebox(idle_timeout_s=self.idle_s, idle_effect=self.effect))
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.ping_s, ping_timeout_s=self.timeout_s)
        scenario = still_world("idle_killer", 1, path).replace(client=ClientPart(config=config), horizon_s=7200.0)
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        ended = ended_at_s(client)
        if self.ping_s < self.idle_s:
            return {"connections lost in two hours": float(len(ended))}
        require(bool(ended), "a connection is lost")
        return {"life of a connection": ended[0] - connected_at_s(client)[0]}
