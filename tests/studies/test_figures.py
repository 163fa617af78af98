"""Figures that a study file names beside the summary's columns."""

import math

import numpy as np
import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.policies.catalogue import Schedule
from reference.protocol.policies.fallback import NeverFallBack
from simulation import Frames
from simulation.results.outage_figures import busiest_second
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import LoadBalancerCut, Outage
from simulation.scenario.population import Stay
from simulation.scenario.scaling import scaled
from simulation.scenario.scenario import Capacity
from simulation.studies.experiment import Experiment
from simulation.studies.figures import DERIVED, quantile_of
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
    index = cut[0].trace_index
    hours = sum(index.ended_at - client.started_at for client in index.clients.values()) / 1e9 / 3600
    assert figure(cut, "downtime_s_per_client_hour") == pytest.approx(float(gone["duration_s"].sum()) / hours)


def test_a_client_hour_ends_when_its_client_leaves() -> None:
    """Three people come twice, for 5 s each time."""
    stay = Stay(lasts=Constant(value=5.0), away=Constant(value=10.0), visits=2)
    result = World(calm(clients=3, horizon_s=40.0, workload=QUIET).replace({"groups.c.stay": stay}), 0).run()
    frames = Frames(result.trace_index)
    assert len(frames["attempts"]) == 6
    assert DERIVED["attempts_per_client_hour"](result, frames) == pytest.approx(6 * 3600 / 30)


def test_who_leaves_while_cut_off_did_not_fail_to_return() -> None:
    stay, cut = Stay(lasts=Constant(value=10.0)), Outage(at_s=4.0, duration_s=20.0)
    still = ClientConfig(ping_interval_s=1.0, ping_timeout_s=1.0, fallback_after_failures=None)
    scenario = calm(clients=3, horizon_s=40.0, workload=QUIET, faults=(cut,))
    result = World(scenario.replace({"groups.c.stay": stay, "client.config": still}), 0).run()
    frames = Frames(result.trace_index)
    gone = frames["interruptions"]
    assert len(gone) == 3
    assert gone["end_s"].tolist() == pytest.approx([10.0] * 3, abs=0.01)
    assert not gone["has_returned"].any()
    assert DERIVED["recovery_p99_s"](result, frames) == 0.0
    assert DERIVED["downtime_s_per_client_hour"](result, frames) == pytest.approx(gone["duration_s"].mean() / 10 * 3600, rel=1e-3)


def test_the_warm_up_is_left_out(cut: tuple[Result, Frames]) -> None:
    """It ends a second after the cut began, which is still under way then."""
    warm_up_s = 6.0
    late = cut[0].scenario.replace(warm_up_s=warm_up_s)
    result = World(late, 0).run()
    frames = Frames(result.trace_index)
    hours = CLIENTS * (result.trace_index.ended_at / 1e9 - warm_up_s) / 3600
    gone, tried = frames["interruptions"], frames["attempts"]["attempted_s"]
    down_s = float((gone["end_s"] - gone["start_s"].clip(lower=warm_up_s)).sum())
    assert down_s < float(gone["duration_s"].sum()) - CLIENTS / 2
    assert DERIVED["downtime_s_per_client_hour"](result, frames) == pytest.approx(down_s / hours)
    assert DERIVED["attempts_per_client_hour"](result, frames) == pytest.approx((tried >= warm_up_s).sum() / hours)
    summed = World(late.replace(record="histograms"), 0).run()
    pings = DERIVED["pings_per_connected_hour"](summed, Frames(summed.trace_index))
    assert pings == pytest.approx(DERIVED["pings_per_connected_hour"](result, frames))
    assert DERIVED["storm_peak_per_s"](result, frames) == busiest_second(tried[tried >= warm_up_s]) > 0
    calmed = World(late.replace(warm_up_s=30.0), 0).run()  # everyone is back
    for name in ("storm_peak_per_s", "accept_queue_max"):
        assert figure(cut, name) > DERIVED[name](calmed, Frames(calmed.trace_index)) == 0.0


@pytest.mark.parametrize("many", [1, 12, 99, 100, 101, 200, 250, 1000])
def test_recovery_is_infinite_from_one_percent_without_an_end_on(many: int) -> None:
    """A quantile is the least time after which more than the fraction were over."""
    for endless in range(min(many, 15)):
        durations = np.append(np.arange(1.0, many - endless + 1), [math.inf] * endless)
        found = quantile_of(durations, 0.99)
        assert math.isinf(found) == (100 * endless >= many)
        assert found == next(each for rank, each in enumerate(durations, 1) if 100 * rank > 99 * many)


def test_alerts_of_counts_are_judged_for_the_full_world(cut: tuple[Result, Frames]) -> None:
    """Six clients of twelve reconnect: more than ten a minute in the full world."""
    asked = {"figures": ("alerts_reconnections_per_min", "alerts_latency_p95_s"), "replications": 1}
    full, small = (Experiment(cut[0].scenario, scale=scale, **asked).run().runs.iloc[0] for scale in (1.0, 2.0))
    assert full["alerts_reconnections_per_min"] == small["alerts_reconnections_per_min"] == 1
    assert small["alerts_latency_p95_s"] == 0
    half = Experiment(scaled(cut[0].scenario, 2.0), **asked).run().runs.iloc[0]
    assert half["alerts_reconnections_per_min"] == 0, "the same runs, as a world of six"


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
