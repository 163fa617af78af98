"""Detectors in whole worlds: how long a dead connection goes unnoticed, with a random phase for each client; and how often a
living one is taken for dead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from reference.protocol.errors import CloseCode
from reference.protocol.policies.keepalive import (
    EveryInterval,
    FreshnessPoints,
    Heartbeat,
    MissesInARow,
    PhiAccrual,
    PhiExponential,
    Signs,
)
from reference.protocol.timers import NS_PER_S
from simulation.random import RandomStreams
from simulation.scenario.distributions import Exponential
from simulation.scenario.faults import HalfOpen, Path
from simulation.scenario.scenario import ClientPart, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.index import ClientIndex
from simulation.trace.trace import ConnectionLeft, StateTurned
from simulation.validation.closed_forms import detection
from simulation.validation.experiment import Expected, TheoryExperiment, require, share
from simulation.validation.experiments.network.transport import connected_at_s
from simulation.world import run

Law = Literal["normal", "exponential"]


def _pinging(clients: int, path: Path, heartbeat: Heartbeat) -> Scenario:
    return still_world("detector", clients, path).replace(client=ClientPart(config=PATIENT_CLIENT, heartbeat=heartbeat))


def _lost_at_s(client: ClientIndex) -> list[float]:
    return [
        record.at / NS_PER_S
        for record in client.records
        if isinstance(record, ConnectionLeft) and record.code == CloseCode.HEARTBEAT_LOST
    ]


@dataclass(frozen=True, slots=True)
class _Death:
    """Of one connection, in seconds: when its first ping left, when it died, and when its client noticed."""

    pinged_s: float
    died_s: float
    noticed_s: float

    @property
    def delay_s(self) -> float:
        return self.noticed_s - self.died_s


def _deaths(scenario: Scenario, interval_s: float, after_s: float, seed: int, replication: int) -> list[_Death]:
    """Each client's connection becomes a black hole at a phase of its own, uniform over one interval that begins at `after_s`."""
    random_source = RandomStreams(seed, replication).of("black holes")
    phases = {client: random_source.uniform("phase", n) for n, client in enumerate(scenario.client_names)}
    died_s = {client: after_s + interval_s * phase for client, phase in phases.items()}
    holes = tuple(HalfOpen(at_s=at_s, clients=(client,)) for client, at_s in died_s.items())
    settle_s = interval_s + scenario.client.heartbeat_policy.notice_max_s
    trace_index = run(scenario.replace(faults=holes, settle_s=settle_s), seed=seed, replication=replication).trace_index
    deaths = []
    for client in trace_index.clients.values():
        noticed = _lost_at_s(client)
        require(len(noticed) == 1, "everyone notices once")
        deaths.append(_Death(connected_at_s(client)[0], died_s[client.name], noticed[0]))
    return deaths


def _of_delays(deaths: list[_Death]) -> dict[str, float]:
    delays = [death.delay_s for death in deaths]
    low, high = np.quantile(delays, (0.05, 0.95), method="weibull")  # without bias for uniform delays
    return {"mean delay": float(np.mean(delays)), "5 % quantile": float(low), "95 % quantile": float(high)}


def _uniform(low_s: float, high_s: float) -> dict[str, Expected]:
    def at(fraction: float) -> float:
        return low_s + fraction * (high_s - low_s)

    return {
        "mean delay": Expected(at(0.5), "s", 0.01),
        "5 % quantile": Expected(at(0.05), "s", 0.02),
        "95 % quantile": Expected(at(0.95), "s", 0.01),
    }


@dataclass(frozen=True, kw_only=True)
class HalfOpenConnection(TheoryExperiment):
    """From the black hole until the client gives the connection up; `misses` in a row, or after one."""

    family: ClassVar[str] = "detection"
    interval_s: float
    timeout_s: float
    round_trip_s: float
    clients: int = 50
    misses: int = 1

    def expected(self) -> dict[str, Expected]:
        return _uniform(*detection.bounds_s(self.interval_s, self.misses * self.timeout_s, self.round_trip_s))

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        heartbeat: Heartbeat = EveryInterval(self.interval_s, self.timeout_s)
        if self.misses > 1:
            heartbeat = MissesInARow(self.interval_s, self.misses, self.timeout_s)
        scenario = _pinging(self.clients, Path(latency_s=self.round_trip_s / 2), heartbeat)
        return _of_delays(_deaths(scenario, self.interval_s, 5 * self.interval_s, seed, replication))


@dataclass(frozen=True, kw_only=True)
class Freshness(TheoryExperiment):
    """NFD-S: from the black hole until the freshness point that nothing reaches; round trips may be longer than the interval."""

    family: ClassVar[str] = "nfd-s"
    interval_s: float
    shift_s: float
    round_trip_s: float
    clients: int = 50

    def expected(self) -> dict[str, Expected]:
        return _uniform(*detection.bounds_s(self.interval_s, self.shift_s, self.round_trip_s))

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        path = Path(latency_s=self.round_trip_s / 2)
        scenario = _pinging(self.clients, path, FreshnessPoints(self.interval_s, self.shift_s))
        after_s = 5 * self.interval_s + 5 * self.round_trip_s
        return _of_delays(_deaths(scenario, self.interval_s, after_s, seed, replication))


@dataclass(frozen=True, kw_only=True)
class Mistakes(TheoryExperiment):
    """NFD-S on a path that lives, with exponential delays there and back: how often a freshness point is a mistake. The first of
    each connection is left out, for its answer may wait behind the snapshot."""

    family: ClassVar[str] = "nfd-s"
    replications: ClassVar[int] = 40
    interval_s: float
    shift_s: float
    floor_s: float
    mean_s: float
    clients: int = 25
    points: int = 40

    def expected(self) -> dict[str, Expected]:
        mistake = detection.erlang_2_tail(self.shift_s - self.floor_s, self.mean_s)
        first_ten = (1 - mistake) ** 10
        return {
            "P(mistake)": share(mistake, self.clients * self.points * self.replications // 2),
            "mean time between mistakes": Expected(self.interval_s / mistake, "s", 0.05),
            "P(none in ten)": share(first_ten, self.clients * self.replications),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        path = Path(latency_s=self.floor_s / 2, delay=Exponential(scale=self.mean_s))
        heartbeat = FreshnessPoints(self.interval_s, self.shift_s)
        scenario = _pinging(self.clients, path, heartbeat).replace(horizon_s=self.points * self.interval_s)
        result = run(scenario, seed=seed, replication=replication)
        points = mistakes = none_in_ten = judged = 0
        for client in result.trace_index.clients.values():
            lives = self._lives(client, result.trace_index.ended_at / NS_PER_S)
            points += sum(last for last, _ in lives)
            mistakes += sum(is_mistake and last > 0 for last, is_mistake in lives)
            first, is_mistake = next(((last, is_mistake) for last, is_mistake in lives if last > 0 or not is_mistake), (0, False))
            judged += 1
            none_in_ten += first > 10 or (first == 10 and not is_mistake)
        require(mistakes > 0, "somebody is mistaken")
        return {
            "P(mistake)": mistakes / points,
            "mean time between mistakes": self.interval_s * points / mistakes,
            "P(none in ten)": none_in_ten / judged,
        }

    def _lives(self, client: ClientIndex, end_s: float) -> list[tuple[int, bool]]:
        """Of each connection: the number of its last freshness point, from 0, and whether that was a mistake."""
        lives: list[tuple[int, bool]] = []
        since_s: float | None = None
        for record in client.records:
            at_s = record.at / NS_PER_S
            if isinstance(record, StateTurned) and record.is_carried and since_s is None:
                since_s = at_s
            elif isinstance(record, ConnectionLeft) and record.code == CloseCode.HEARTBEAT_LOST and since_s is not None:
                lives.append((round((at_s - self.shift_s - since_s) / self.interval_s), True))
                since_s = None
        if since_s is not None and end_s - self.shift_s > since_s:
            lives.append((math.floor((end_s - self.shift_s - since_s) / self.interval_s), False))
        return lives


@dataclass(frozen=True, kw_only=True)
class Accrual(TheoryExperiment):
    """Phi accrual: the silence at which a client gives up, judged by phi itself, and the delay from the black hole until then.
    Answers come at even intervals, or with `swing_s` alternately so much earlier and later; the guesses are forgotten."""

    family: ClassVar[str] = "phi"
    law: Law
    threshold: float
    interval_s: float
    std_min_s: float = 0.1
    pause_s: float = 0.0
    swing_s: float = 0.0
    round_trip_s: float = 0.1
    clients: int = 25

    SAMPLES: ClassVar[int] = 6

    def expected(self) -> dict[str, Expected]:
        silence_s = self.threshold * math.log(10) * self.interval_s
        if self.law == "normal":
            mean_s, std_s = self.interval_s + self.pause_s, max(self.std_min_s, 2 * self.swing_s)
            silence_s = detection.akkas_silence_s(self.threshold, mean_s, std_s)
        known = {"phi when given up": Expected(self.threshold, "", 1e-6)}
        return known if self.swing_s else known | _uniform(silence_s - self.interval_s, silence_s)

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        heartbeat: Heartbeat = PhiExponential(self.interval_s, self.threshold, self.SAMPLES, 30.0)
        if self.law == "normal":
            heartbeat = PhiAccrual(self.interval_s, self.threshold, self.SAMPLES, 30.0, self.std_min_s, self.pause_s)
        base_s = self.round_trip_s / 2
        path = Path(latency_s=base_s)
        if self.swing_s:
            path = Path(recorded_latency=((0.0, base_s), (self.interval_s, base_s + self.swing_s)))
        after_s = 2 * (self.SAMPLES + 2) * self.interval_s
        deaths = _deaths(_pinging(self.clients, path, heartbeat), self.interval_s, after_s, seed, replication)
        phis = [self._phi(death.noticed_s - self._last_answer_s(death)) for death in deaths]
        return {"phi when given up": float(np.mean(phis)), **_of_delays(deaths)}

    def _last_answer_s(self, death: _Death) -> float:
        """The last that came before the connection died."""
        answers = []
        for ping in range(100):
            sent_s = death.pinged_s + ping * self.interval_s
            is_slow = self.swing_s and math.floor(sent_s / self.interval_s) % 2 == 1
            answers.append(sent_s + self.round_trip_s + (2 * self.swing_s if is_slow else 0.0))
        return max(answer for answer in answers if answer < death.died_s)

    def _phi(self, silence_s: float) -> float:
        if self.law == "exponential":
            return detection.cassandras_phi(silence_s, self.interval_s)
        std_s = max(self.std_min_s, 2 * self.swing_s)
        return detection.akkas_phi(silence_s, self.interval_s + self.pause_s, std_s)


@dataclass(frozen=True, kw_only=True)
class AccrualMistakes(TheoryExperiment):
    """Phi accrual that has learnt its law from so many independent intervals: how often the next one is taken for death."""

    family: ClassVar[str] = "phi"
    law: Law
    threshold: float
    samples: int
    intervals: int = 500

    def expected(self) -> dict[str, Expected]:
        forms: Mapping[Law, float] = {
            "normal": detection.normal_mistake(self.threshold, self.samples),
            "exponential": detection.exponential_mistake(self.threshold, self.samples),
        }
        return {"P(mistake)": share(forms[self.law], self.intervals * self.replications)}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        generator = np.random.default_rng([seed, replication])
        heartbeat: Heartbeat = PhiExponential(10.0, self.threshold, self.samples, 3600.0)
        if self.law == "normal":
            heartbeat = PhiAccrual(10.0, self.threshold, self.samples, 3600.0, 1e-6, 0.0)
        shape = (self.intervals, self.samples + 1)
        drawn = generator.normal(10.0, 1.0, shape) if self.law == "normal" else generator.exponential(10.0, shape)
        mistakes = 0
        for *known, following in drawn.tolist():
            dead_s = heartbeat.due(Signs(0.0, 0.0, 0.0, 0.0, tuple(known))).dead_s
            mistakes += dead_s is not None and following > dead_s
        return {"P(mistake)": mistakes / self.intervals}
