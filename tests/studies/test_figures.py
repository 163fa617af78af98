"""Figures that a study file names beside the summary's columns."""

import math

import pytest

from reference.protocol.policies.catalogue import Schedule
from reference.protocol.policies.fallback import NeverFallBack
from simulation import Frames
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import LoadBalancerCut
from simulation.scenario.scenario import Capacity
from simulation.studies.figures import DERIVED
from simulation.world import Result, World
from tests.simulation.worlds import QUIET, calm

CLIENTS, DOWN_S = 12, 2.0


@pytest.fixture(scope="module")
def cut() -> tuple[Result, Frames]:
    """Twelve clients come within the first second, are cut off at 5 s for 2 s, and are let in 4 a second."""
    capacity = Capacity(accepts_per_s=4.0, handshake_cost=Constant(value=0.001))
    scenario = calm(
        clients=CLIENTS,
        horizon_s=8.0,
        settle_s=40.0,
        workload=QUIET,
        faults=(LoadBalancerCut(at_s=5.0, duration_s=DOWN_S, share=1.0),),
    ).replace({"server.capacity": capacity})
    result = World(scenario, 0).run()
    return result, Frames(result.trace_index)


def figure(cut: tuple[Result, Frames], name: str) -> float:
    return DERIVED[name](*cut)


def test_recovery_counts_all_clients(cut: tuple[Result, Frames]) -> None:
    gone = cut[1]["interruptions"]
    assert figure(cut, "recovery_p99_s") == pytest.approx(float(gone["duration_s"].max()))
    assert figure(cut, "recovery_p99_s") > DOWN_S + (CLIENTS - 1) / 4.0 - 1.0
    hours = CLIENTS * cut[0].trace_index.ended_at / 1e9 / 3600
    assert figure(cut, "downtime_s_per_client_hour") == pytest.approx(float(gone["duration_s"].sum()) / hours)


def test_who_never_returns_makes_recovery_infinite() -> None:
    fault = LoadBalancerCut(at_s=2.0, duration_s=5.0, share=1.0)
    scenario = calm(clients=3, horizon_s=4.0, settle_s=20.0, workload=QUIET, faults=(fault,))
    gives_up = scenario.replace({"client.policy": Schedule(waits_s=(0.1,)), "client.fallback": NeverFallBack()})
    result = World(gives_up, 0).run()
    assert DERIVED["recovery_p99_s"](result, Frames(result.trace_index)) == math.inf


def test_the_storm_is_counted_from_the_fault_on(cut: tuple[Result, Frames]) -> None:
    tried = cut[1]["attempts"]["attempted_s"]
    assert figure(cut, "storm_peak_per_s") <= int((tried >= 5.0).sum())
    assert figure(cut, "storm_peak_per_s") >= CLIENTS / 2  # within the first spread of a second
    assert figure(cut, "attempts_per_client_hour") > 0


def test_who_is_cut_off_does_not_save_pings(cut: tuple[Result, Frames]) -> None:
    """Pings are counted per hour of an open connection, so a policy that leaves clients cut off for longer is not cheaper."""
    interval_s = cut[0].scenario.client.config.ping_interval_s
    assert figure(cut, "pings_per_connected_hour") == pytest.approx(3600 / interval_s, rel=0.25)
    answered = cut[1]["round_trips"]
    assert figure(cut, "pings_per_connected_hour") > 1.02 * len(answered) / (CLIENTS * cut[0].trace_index.ended_at / 1e9 / 3600)


def test_the_queue_is_seen_between_two_looks(cut: tuple[Result, Frames]) -> None:
    sampled = cut[1]["samples"]
    looked = sampled[sampled["queue"] == "accept backlog"]["length"].max()
    assert figure(cut, "accept_queue_max") >= looked
    assert figure(cut, "accept_queue_max") >= 4


def test_work_and_alert_lines(cut: tuple[Result, Frames]) -> None:
    assert figure(cut, "server_busy_s_per_client_hour") > 0
    assert figure(cut, "alerts_reconnections_per_min") == float((cut[1]["alerts"]["alert"] == "reconnections_per_min").sum())
    assert figure(cut, "alerts_latency_p95_s") == 0.0
