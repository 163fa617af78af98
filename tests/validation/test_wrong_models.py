"""A simulator that is wrong on purpose: `steadywire verify` returns 1 and names the experiment that the fault belongs to.

Each test breaks the simulator or the protocol that it runs, never the theory or the experiment.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

import simulation.network.pipe
import simulation.network.tcp
from reference.protocol.client.keepalive import Keepalive
from reference.protocol.client.publishing import Outbox
from reference.protocol.policies import keepalive as keepalive_policies
from reference.protocol.policies.catalogue import SpreadJitter
from reference.protocol.policies.keepalive import Due, EveryInterval, FreshnessPoints, Signs
from reference.protocol.policies.reconnect import Attempt
from reference.protocol.timers import NS_PER_S, ns
from simulation.cli import run
from simulation.clock import TimerLateness
from simulation.hosts.capacity import Cost, Listener
from simulation.network.cell import Cell
from simulation.network.congestion import CongestionWindow
from simulation.network.loss import Fades, _GilbertElliott
from simulation.network.pipe import Pipe
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.network.tcp import RoundTripEstimate
from simulation.random import EntityRandom
from simulation.scenario.paths import Tcp
from simulation.validation import catalogue
from simulation.validation.experiment import TheoryExperiment
from simulation.validation.experiments.clients.detecting import Accrual, AccrualMistakes, Freshness, HalfOpenConnection, Mistakes
from simulation.validation.experiments.clients.herding import AcceptRate
from simulation.validation.experiments.clients.outboxes import OverflowInAnOutage
from simulation.validation.experiments.clients.racing import Phases, PingRace
from simulation.validation.experiments.clients.reconnecting import AfterAnOutage
from simulation.validation.experiments.network.fading import LonePackets
from simulation.validation.experiments.network.linux import Flights, SwallowedRefusal, SwallowedReset, Timeout
from simulation.validation.experiments.network.losing import Bursts
from simulation.validation.experiments.network.queueing import ServerQueue
from simulation.validation.experiments.network.sharing import AllAtOnce, SharedCell
from simulation.validation.experiments.network.streams import InOrder
from simulation.validation.experiments.network.transport import Dialling

pytestmark = [pytest.mark.slow, pytest.mark.parallel]

Verify = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs these experiments alone, in this process; gives the exit code and the complaints."""

    def verify_only(*experiments: TheoryExperiment) -> tuple[int, list[str]]:
        monkeypatch.setattr(catalogue, "QUICK", experiments)
        exit_code = run(["verify", "--quick", "--jobs", "1"])
        return exit_code, capsys.readouterr().err.splitlines()

    return verify_only


FULL = AfterAnOutage(policy="full-jitter", outage_mean_s=5.0, clients=10)
EQUAL = AfterAnOutage(policy="equal-jitter", outage_mean_s=5.0, clients=10)


def differs(verify: Verify, beginning: str, *experiments: TheoryExperiment) -> list[str]:
    """The fault is seen: `verify` fails, and each of its complaints is of a number that differs and begins so."""
    exit_code, complaints = verify(*experiments)
    assert exit_code == 1
    assert complaints
    assert [complaint for complaint in complaints if not complaint.startswith(f"differs: {beginning}")] == []
    return complaints


def test_nothing_planted(verify: Verify) -> None:
    assert verify(FULL, EQUAL) == (0, [])


def test_jitter_of_another_law(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    def squared(self: SpreadJitter, attempt: Attempt) -> float:
        return self._step(attempt.failures) * attempt.uniform(0.0, 1.0) ** 2

    monkeypatch.setattr(SpreadJitter, "_drawn", squared)
    differs(verify, "backoff: AfterAnOutage(policy=full-jitter, ", FULL, EQUAL)


def test_a_lane_that_reorders(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    push = SimulatedPipe.push

    def push_and_overtake(self: SimulatedPipe, function: Callable[[Any], None], argument: Any = None, *sizes: int) -> None:
        push(self, function, argument, *sizes)
        self.half._things.sort(key=lambda thing: thing[0])
        self._wait()

    monkeypatch.setattr(SimulatedPipe, "push", push_and_overtake)
    differs(verify, "stream: InOrder(", InOrder(messages_per_s=20.0, floor_s=0.05, mean_s=0.1, messages=20))


def test_a_ping_counted_from_the_last_answer(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    due = EveryInterval.due

    def later(self: EveryInterval, signs: Signs) -> Due:
        since_s = signs.heard_s if signs.unanswered_s is None else signs.pinged_s
        return Due(self.interval_s - since_s, due(self, signs).dead_s)

    monkeypatch.setattr(EveryInterval, "due", later)
    differs(
        verify,
        "detection: HalfOpenConnection(interval_s=5, ",
        HalfOpenConnection(interval_s=5.0, timeout_s=2.0, round_trip_s=1.0, clients=20),
    )


@pytest.mark.parametrize("fault", ["any byte is an answer", "counted from the next ping"])
def test_freshness_points_that_are_others(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_any_byte(self: FreshnessPoints, signs: Signs) -> Due:
        dead_s = None if signs.unanswered_s is None else self.shift_s - signs.unanswered_s
        return Due(self.interval_s - signs.pinged_s, dead_s)

    def a_tenth_later(self: FreshnessPoints, signs: Signs) -> Due:
        dead_s = None if signs.unproven_s is None else 1.1 * self.shift_s - signs.unproven_s
        return Due(self.interval_s - signs.pinged_s, dead_s)

    monkeypatch.setattr(FreshnessPoints, "due", by_any_byte if fault == "any byte is an answer" else a_tenth_later)
    long_trip = Freshness(interval_s=0.5, shift_s=2.5, round_trip_s=1.3, clients=20)
    mistakes = Mistakes(interval_s=1.0, shift_s=0.5, floor_s=0.1, mean_s=0.1, clients=10)
    differs(verify, "nfd-s: ", long_trip if fault == "any byte is an answer" else mistakes)


@pytest.mark.parametrize("fault", ["the exact law", "round trips for intervals", "a logarithm to the base of 2"])
def test_a_phi_of_another_kind(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = Accrual(law="normal", threshold=5.0, interval_s=2.0, std_min_s=0.01, swing_s=0.2, clients=5)
    if fault == "the exact law":
        monkeypatch.setattr(keepalive_policies, "deviations_at", lambda threshold: float(stats.norm.isf(10**-threshold)))
        checked: tuple[TheoryExperiment, ...] = (learnt,)
    elif fault == "round trips for intervals":
        pong = Keepalive.pong

        def keep_the_round_trip(self: Keepalive, nonce: int, now: int) -> bool:
            is_known = pong(self, nonce, now)
            self._intervals_s = (*self._intervals_s[:-1], self._record.round_trips_ms[-1] / 1000)
            return is_known

        monkeypatch.setattr(Keepalive, "pong", keep_the_round_trip)
        checked = (learnt,)
    else:
        monkeypatch.setattr(keepalive_policies, "_LN_10", math.log(2))
        checked = (AccrualMistakes(law="exponential", threshold=1.0, samples=20),)
    complaints = differs(verify, "phi: ", *checked)
    assert {complaint.split("(")[0] for complaint in complaints} == {f"differs: phi: {type(each).__name__}" for each in checked}


def test_exponential_service_in_place_of_constant(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    def exponential(self: Cost, client: str) -> int:
        index = self._drawn[client] = self._drawn.get(client, 0) + 1
        return ns(-self._distribution.mean * math.log1p(-self._random_source.uniform(f"{self._kind}/{client}", index)))

    monkeypatch.setattr(Cost, "of", exponential)
    differs(verify, "queues: ServerQueue(law=constant, ", ServerQueue(law="constant", load=0.5, frames=300))


def test_accepting_a_tenth_faster(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Listener.take

    def hasty(self: Listener, *given: int) -> int | None:
        taken_at = take(self, *given)
        self._next_at -= self._interval // 10
        return taken_at

    monkeypatch.setattr(Listener, "take", hasty)
    differs(verify, "herd: AcceptRate(", AcceptRate(clients=20, spread_s=0.2, accepts_per_s=40.0))


def test_loss_without_bursts(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    def memoryless(self: _GilbertElliott, packet: int, attempt: int = 0) -> bool:
        p, r = self._loss.good_to_bad, self._loss.bad_to_good
        return self._random_source.uniform("loss", packet) < p / (p + r)

    monkeypatch.setattr(_GilbertElliott, "is_lost", memoryless)
    complaints = differs(verify, "loss: Bursts(", Bursts(good_to_bad=0.05, bad_to_good=0.5, packets=3000))
    assert not any(": loss: 0." in complaint for complaint in complaints), "the share of lost packets is right"


def test_syns_at_other_times(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_three_seconds(tcp: Tcp) -> tuple[tuple[int, ...], int]:
        return tuple(at * NS_PER_S for at in (0, 3, 9, 21, 45)), 93 * NS_PER_S

    for module in (simulation.network.tcp, simulation.network.pipe):
        monkeypatch.setattr(module, "syn_schedule", from_three_seconds)
    differs(verify, "tcp: Dialling(", Dialling(kernel="classic", outage_s=5.5), Dialling(kernel="linux_6_5", outage_s=20.0))


def test_a_reset_that_is_sent_again(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was once: what an outage swallows is delivered when it is over."""

    def push_as_data(self: SimulatedPipe, function: Callable[[Any], None], argument: Any = None, after: int = 0) -> None:
        self.push(function, argument, 0, after)

    monkeypatch.setattr(SimulatedPipe, "push_reset", push_as_data)
    complaints = differs(
        verify, "reset: ", SwallowedRefusal(kernel="linux_6_5", outage_s=3.0), SwallowedReset(ping_s=20.0, outage_s=3.0)
    )
    assert {complaint.split("(")[0] for complaint in complaints} == {
        "differs: reset: SwallowedRefusal",
        "differs: reset: SwallowedReset",
    }


def test_a_timeout_without_the_round_trip(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """max(rto_min, SRTT + 4 mdev), as RFC 6298 has it."""

    def of_the_rfc(self: RoundTripEstimate) -> int:
        return max(ns(0.2), self._srtt + self._four_mdev)

    monkeypatch.setattr(RoundTripEstimate, "rto", property(of_the_rfc))
    complaints = differs(
        verify, "rto: Timeout(", *(Timeout(measured=measured) for measured in ("constant, 10 ms", "a step up", "a spike"))
    )
    assert len({complaint.split(")")[0] for complaint in complaints}) == 3


@pytest.mark.parametrize("fault", ["no growth", "a smaller beginning", "no restart"])
def test_slow_start_that_is_another(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "no growth":
        monkeypatch.setattr(CongestionWindow, "_grow", lambda self, flight: None)
    elif fault == "no restart":
        monkeypatch.setattr(CongestionWindow, "_restart", lambda self, idle, rto: None)
    else:
        begin = CongestionWindow.__init__

        def begin_with_four(self: CongestionWindow, tcp: Tcp, send_buffer_bytes: int | None = None) -> None:
            begin(self, tcp, send_buffer_bytes)
            self.packets = 4.0

        monkeypatch.setattr(CongestionWindow, "__init__", begin_with_four)
    before = "the same, an hour ago" if fault == "no restart" else "nothing"
    differs(verify, "slow start: Flights(kilobytes=200, ", Flights(kilobytes=200, before=before))


def test_fades_that_pass_with_packets(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain that steps per packet keeps a sparse stream in its burst."""
    is_bad, calls = Fades.is_bad, itertools.count()
    monkeypatch.setattr(Fades, "is_bad", lambda self, at: is_bad(self, next(calls) * ns(0.01)))
    differs(verify, "fades: LonePackets(", LonePackets(good_ms=4750.0, bad_ms=250.0))


@pytest.mark.parametrize("fault", ["exact timers", "sent where it passes"])
def test_a_race_without_lateness_or_place(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "exact timers":
        monkeypatch.setattr(TimerLateness, "of", lambda self, at: at)
    else:  # a middlebox that counts what is sent, wherever it stands
        monkeypatch.setattr(Pipe, "latency", property(lambda self: 0))
    differs(verify, "timers: PingRace(", PingRace(ping_s=60.0, idle_s=60.0, slack_s=0.2))


def test_phases_that_are_all_the_same(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = EntityRandom.uniform

    def without_phase(self: EntityRandom, purpose: str, index: int) -> float:
        return 0.5 if purpose == "phase" else uniform(self, purpose, index)

    monkeypatch.setattr(EntityRandom, "uniform", without_phase)
    differs(verify, "phases: Phases(", Phases(period_s=60.0))


def test_a_cell_that_serves_one_after_the_other(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = Cell.enter
    monkeypatch.setattr(Cell, "enter", lambda self, now, client, *others: enter(self, now, "everyone", *others))
    differs(verify, "sharing: ", SharedCell(law="exponential", load=0.7, downloads=500), AllAtOnce(clients=8))


def test_an_outbox_that_holds_twice_as_much(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Outbox.__init__

    def roomier(self: Outbox, messages_max: int, *others: Any) -> None:
        begin(self, 2 * messages_max, *others)

    monkeypatch.setattr(Outbox, "__init__", roomier)
    differs(verify, "outbox: OverflowInAnOutage(limit=5, ", OverflowInAnOutage(limit=5, messages_per_s=2.0, outage_mean_s=5.0))
