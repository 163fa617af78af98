"""Devices and names: sleeping machines, background tabs, changing networks, failover, resumed handshakes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
import numpy as np

from reference.protocol.policies.catalogue import Fixed
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import (
    BackgroundTab,
    DnsFailure,
    Failover,
    HalfOpen,
    LoadBalancerCut,
    NetworkChange,
    Reset,
    Suspend,
)
from simulation.scenario.paths import Dns, Path, Tcp
from simulation.scenario.population import FlashCrowd
from simulation.scenario.scenario import ClientPart
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.validation.closed_forms import clients as closed
from simulation.validation.closed_forms import tcp
from simulation.validation.experiment import Expected, TheoryExperiment, require, share
from simulation.validation.experiments.network.transport import CHECKS, connected_at_s, ended_at_s
from simulation.validation.experiments.worlds import all_absences
from simulation.world import run

CLIENTS = 20


@dataclass(frozen=True, kw_only=True)
class AfterSleep(TheoryExperiment):
    """A connection dies while a machine sleeps. A clock that counts the sleep finds the ping overdue when it wakes; one that
    stands still finds it due in the rest of its interval, which is uniform."""

    family: ClassVar[str] = "devices"
    clock: Literal["counts", "stops"]
    ping_s: float = 20.0
    timeout_s: float = 5.0

    def expected(self) -> dict[str, Expected]:
        if self.clock == "counts":
            return {"found out after": Expected(self.timeout_s, "s"), "variance": Expected(0.0, "s2")}
        return {
            "found out after": Expected(self.timeout_s + closed.uniform_mean(self.ping_s), "s", 0.02),
            "variance": Expected(closed.uniform_variance(self.ping_s), "s2", 0.06),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.ping_s, ping_timeout_s=self.timeout_s)
        scenario = still_world("asleep", CLIENTS).replace(
            {"groups.c.arrive_within_s": self.ping_s},
            client=ClientPart(config=config),
            faults=(Suspend(at_s=100.0, duration_s=1000.0, clock=self.clock), HalfOpen(at_s=500.0)),
            horizon_s=1200.0,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        found = np.array([ended_at_s(client)[0] - 1100.0 for client in trace_index.clients.values()])
        mean = float(found.mean())
        right_s = self.expected()["found out after"].value
        return {"found out after": mean, "variance": float(np.mean((found - right_s) ** 2))}


@dataclass(frozen=True, kw_only=True)
class InTheBackground(TheoryExperiment):
    """A connection is reset while its tab is in the background: its wait ends at a tick, whose phase is uniform."""

    family: ClassVar[str] = "devices"
    every_s: float
    wait_s: float

    def expected(self) -> dict[str, Expected]:
        cases = CLIENTS * self.replications
        return {
            "back after": Expected(self.wait_s + closed.uniform_mean(self.every_s), "s", 0.03),
            "variance": Expected(closed.uniform_variance(self.every_s), "s2", 0.06),
            "P(in the first quarter)": share(0.25, cases),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        scenario = still_world("behind", CLIENTS).replace(
            client=ClientPart(config=PATIENT_CLIENT, policy=Fixed(seconds=self.wait_s)),
            faults=(BackgroundTab(at_s=10.0, duration_s=1000.0, timers_every_s=self.every_s), Reset(at_s=100.0)),
            horizon_s=1000.0,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        found = all_absences(trace_index)
        require(len(found) == CLIENTS, "each client is away once")
        away = np.array([absence.duration_s for absence in found]) - self.wait_s
        return {
            "back after": float(away.mean()) + self.wait_s,
            "variance": float(np.mean((away - self.every_s / 2) ** 2)),
            "P(in the first quarter)": float(np.mean(away < self.every_s / 4)),
        }


@dataclass(frozen=True, kw_only=True)
class AnotherNetwork(TheoryExperiment):
    """A client changes its network. A notified client reconnects by the schedule of its SYNs; another one waits for its ping."""

    family: ClassVar[str] = "devices"
    replications: ClassVar[int] = CHECKS
    is_told: bool
    gap_s: float
    latency_s: float = 0.05
    new_latency_s: float = 0.2
    ping_s: float = 10.0

    def expected(self) -> dict[str, Expected]:
        first_s = 6 * self.latency_s
        if self.is_told:
            times_s, _ = tcp.syn_times_s(linear=True)
            dialled_s = next(at_s for at_s in times_s if at_s >= self.gap_s)
            return {"back at": Expected(95.0 + dialled_s + 6 * self.new_latency_s, "s")}
        pinged_s = next(at_s for at_s in (first_s + number * self.ping_s for number in range(100)) if at_s >= 95.0)
        return {"back at": Expected(pinged_s + self.ping_s + 6 * self.new_latency_s, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=self.ping_s, ping_timeout_s=self.ping_s)
        change = NetworkChange(
            at_s=95.0,
            duration_s=self.gap_s,
            is_notified=self.is_told,
            path=Path(latency_s=self.new_latency_s, tcp=Tcp(resumes="rto")),
        )
        scenario = still_world("moved", 1, Path(latency_s=self.latency_s)).replace(
            client=ClientPart(config=config, policy=Fixed(seconds=0.0)), faults=(change,), horizon_s=150.0
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        times = connected_at_s(client)
        require(len(times) == 2, "the client is connected twice")
        return {"back at": times[1]}


@dataclass(frozen=True, kw_only=True)
class AfterFailover(TheoryExperiment):
    """A server fails over, and its name is changed later. Each client dials the old address until its resolver's copy has
    expired, at a phase that is uniform."""

    family: ClassVar[str] = "names"
    ttl_s: float
    publish_s: float
    wait_s: float = 0.5

    def expected(self) -> dict[str, Expected]:
        # The first attempt after the copy has expired comes half a wait later on average.
        after_s = self.publish_s + closed.uniform_mean(self.ttl_s) + self.wait_s / 2
        variance = closed.uniform_variance(self.ttl_s) + closed.uniform_variance(self.wait_s)
        return {
            "back after": Expected(after_s, "s", 0.03),
            "variance": Expected(variance, "s2", 0.06),
            "attempts": Expected(after_s / self.wait_s, "", 0.03),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        dns = Dns(lookup=Constant(value=0.0), ttl_s=self.ttl_s)
        # Lost at a moment of its own, so that attempts and expiry have independent phases.
        scenario = still_world("failover", CLIENTS, Path(latency_s=0.0, dns=dns)).replace(
            client=ClientPart(config=PATIENT_CLIENT, policy=Fixed(seconds=self.wait_s)),
            faults=(Failover(at_s=100.0, duration_s=self.publish_s, old_address="refuses"),),
            horizon_s=100.0 + self.publish_s + self.ttl_s + 60.0,
        )
        trace_index = run(scenario, seed=seed, replication=replication).trace_index
        found = all_absences(trace_index)
        require(len(found) == CLIENTS, "each client is away once")
        away = np.array([absence.duration_s for absence in found])
        right_s = self.expected()["back after"].value
        return {
            "back after": float(away.mean()),
            "variance": float(np.mean((away - right_s) ** 2)),
            "attempts": float(np.mean([absence.attempts for absence in found])),
        }


@dataclass(frozen=True, kw_only=True)
class Unresolved(TheoryExperiment):
    """A client asks for the server's name, which is not resolved."""

    family: ClassVar[str] = "names"
    replications: ClassVar[int] = CHECKS
    how: Literal["timeout", "error"]
    tries: int
    lookup_s: float = 0.04

    def expected(self) -> dict[str, Expected]:
        return {"ended after": Expected(self.lookup_s if self.how == "error" else 5.0 * self.tries, "s")}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        dns = Dns(lookup=Constant(value=self.lookup_s), ttl_s=0.0, tries=self.tries)
        scenario = still_world("unresolved", 1, Path(latency_s=0.05, dns=dns)).replace(
            {"groups.c.arrivals": FlashCrowd(at_s=10.0)},
            client=ClientPart(config=PATIENT_CLIENT),
            faults=(DnsFailure(at_s=1.0, duration_s=100.0, how=self.how),),
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        return {"ended after": ended_at_s(client)[0] - 10.0}


@dataclass(frozen=True, kw_only=True)
class Resumed(TheoryExperiment):
    """Handshakes: TCP one round trip, TLS none, one or two, the upgrade one, hello and welcome one."""

    family: ClassVar[str] = "tls"
    replications: ClassVar[int] = CHECKS
    tls: Literal["none", "1.3", "1.2"]
    has_ticket: bool
    latency_s: float = 0.05

    def expected(self) -> dict[str, Expected]:
        full = {"none": 0, "1.3": 1, "1.2": 2}[self.tls]
        later = min(full, 1) if self.has_ticket else full
        return {
            "first": Expected(2 * self.latency_s * (3 + full), "s"),
            "second": Expected(2 * self.latency_s * (3 + later), "s"),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        path = Path(latency_s=self.latency_s, tcp=Tcp(tls=self.tls, tls_ticket_s=3600.0 if self.has_ticket else None))
        scenario = still_world("handshakes", 1, path).replace(
            client=ClientPart(config=PATIENT_CLIENT, policy=Fixed(seconds=0.0)), faults=(LoadBalancerCut(at_s=50.0),)
        )
        client = run(scenario, seed=seed, replication=replication).trace_index.clients["c-0"]
        first, second = connected_at_s(client)
        return {"first": first, "second": second - 50.0}
