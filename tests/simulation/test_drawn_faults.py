"""The world's randomness: drawn fault schedules, regions that go down together, up times that count from the reconnect."""

from itertools import pairwise

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S
from simulation.network.availability import comings_and_goings
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Exponential, Uniform
from simulation.scenario.drawn_faults import DrawnFaults
from simulation.scenario.faults import Fault, Outage, Reset, ServerRestart
from simulation.scenario.paths import AlternatingRenewal, OnOffMarkov, Path, PeriodicAvailability
from simulation.scenario.scenario import ClientPart, Group, Region, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.studies.sweeping import sweep
from simulation.trace.trace import FaultHappened, StateTurned
from simulation.world import run

OUTAGES = DrawnFaults(
    name="gaps",
    fault=Outage(at_s=10.0, duration_s=1.0, clients=("c",)),
    every=Exponential(scale=5.0),
    duration=Uniform(low=1.0, high=3.0),
    share=0.25,
)


def drawn_of(process: DrawnFaults, replication: int = 0, **changes: object) -> tuple[Fault, ...]:
    scenario = still_world("drawn", 8).replace(drawn_faults=(process,), horizon_s=1000.0, **changes)
    return scenario.faults_of(RandomStreams(scenario.seed, replication))


def test_times_durations_and_clients_follow_their_distributions() -> None:
    found = [drawn_of(OUTAGES, replication) for replication in range(20)]
    assert len(set(found)) == 20
    count = sum(len(faults) for faults in found)
    # 990 s in steps of 5 s, 20 times, less those that hit none of eight: 0.75 ** 8 = 10 %.
    assert count == pytest.approx(20 * 198 * 0.9, rel=0.05)
    durations = [fault.end_s - fault.at_s for faults in found for fault in faults if fault.end_s < 1000.0]
    assert 1.0 <= min(durations) < max(durations) <= 3.0
    assert sum(durations) / len(durations) == pytest.approx(2.0, rel=0.03)
    assert sum(len(fault.clients) for faults in found for fault in faults) / (20 * 198 * 8) == pytest.approx(0.25, rel=0.06)
    assert all(fault.at_s > 10.0 and fault.end_s <= 1000.0 + 1e-9 for faults in found for fault in faults)


def test_another_setting_meets_the_same_faults() -> None:
    assert drawn_of(OUTAGES) == drawn_of(OUTAGES, client=ClientPart(config=PATIENT_CLIENT))
    wider = drawn_of(msgspec.structs.replace(OUTAGES, share=0.5))
    narrow = {fault.at_s: set(fault.clients) for fault in drawn_of(OUTAGES)}
    assert all(hit <= set(next(fault for fault in wider if fault.at_s == at_s).clients) for at_s, hit in narrow.items())


def test_they_happen_and_are_recorded() -> None:
    restarts = DrawnFaults(name="deploys", fault=ServerRestart(at_s=5.0, duration_s=1.0), every=Constant(value=20.0), times=2)
    scenario = still_world("drawn", 2, Path(latency_s=0.01)).replace(drawn_faults=(restarts,), horizon_s=100.0)
    happened = [record.at / NS_PER_S for record in run(scenario).trace if isinstance(record, FaultHappened)]
    assert happened == [25.0, 45.0]


def test_a_sweep_varies_faults() -> None:
    scenario = still_world("swept", 2, Path(latency_s=0.01)).replace(
        faults=(Outage(at_s=5.0, duration_s=1.0),),
        drawn_faults=(DrawnFaults(name="resets", fault=Reset(at_s=0.0), every=Exponential(scale=20.0)),),
        horizon_s=60.0,
        settle_s=20.0,
    )
    runs = sweep(scenario, {"faults.0.duration_s": [1.0, 12.0], "drawn_faults.resets.every.scale": [10.0]}, replications=2)
    assert sorted(set(runs["faults.0.duration_s"])) == [1.0, 12.0]
    assert len(runs) == 4
    assert not runs["interruption_p95_s"].isna().any()
    shorter, longer = (runs[runs["faults.0.duration_s"] == lasts_s]["interruption_p95_s"] for lasts_s in (1.0, 12.0))
    assert shorter.max() < longer.min()


def outages_of(scenario: Scenario) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in scenario.client_names}
    for record in run(scenario).trace:
        if isinstance(record, FaultHappened):
            for name in record.fault.clients or scenario.client_names:
                found[name].append(record.fault.at_s)
    return found


def test_a_client_goes_down_by_itself_and_with_its_cell_and_with_its_region() -> None:
    own, shared = OnOffMarkov(up_mean_s=30.0, down_mean_s=2.0), OnOffMarkov(up_mean_s=40.0, down_mean_s=3.0, scope="shared")
    groups = tuple(Group(name=name, clients=2, availability=own, arrive_within_s=0.0) for name in ("a", "b", "d"))
    regions = (
        Region(name="cell", groups=("a",), availability=shared),
        Region(name="north", groups=("a", "b"), availability=shared),
    )
    scenario = still_world("regions", 1).replace(groups=groups, regions=regions, horizon_s=600.0)
    found = {name: set(times) for name, times in outages_of(scenario).items()}
    north = found["a-0"] & found["b-0"]
    cell = (found["a-0"] & found["a-1"]) - north
    assert len(north) > 5
    assert len(cell) > 5
    assert north == found["a-1"] & found["b-1"]
    assert not found["d-0"] & found["d-1"]
    assert not found["d-0"] & found["a-0"]
    assert len(found["a-0"] - north - cell) > 5


def test_up_time_counts_from_the_reconnect() -> None:
    """The line breaks for 3 s, ten seconds after each connection: a period is 10 s + 3 s + what the client takes to be back."""
    flaky = AlternatingRenewal(up=Constant(value=10.0), down=Constant(value=3.0), effect="cut", up_from="reconnect")
    scenario = still_world("flaky", 1, Path(latency_s=0.05)).replace(
        {"groups.c.availability": flaky, "client.policy": {"kind": "fixed", "seconds": 5.0}}, horizon_s=200.0
    )
    result = run(scenario)
    downs = [record.at / NS_PER_S for record in result.trace if isinstance(record, FaultHappened)]
    turns = [record for record in result.trace_index.clients["c-0"].records if isinstance(record, StateTurned)]
    backs, was = [], False
    for turn in turns:
        if turn.is_carried and not was:
            backs.append(turn.at / NS_PER_S)
        was = turn.is_carried
    assert len(downs) > 5
    assert downs == pytest.approx([back + 10.0 for back in backs[: len(downs)]])
    assert backs[1] - downs[0] > 5.0


def test_a_down_that_the_connection_outlives_counts_from_its_end() -> None:
    flaky = AlternatingRenewal(up=Constant(value=10.0), down=Constant(value=3.0), up_from="reconnect")
    scenario = still_world("outlived", 1, Path(latency_s=0.05)).replace(
        {"groups.c.availability": flaky}, client=ClientPart(config=PATIENT_CLIENT), horizon_s=60.0
    )
    downs = [record.at / NS_PER_S for record in run(scenario).trace if isinstance(record, FaultHappened)]
    assert [later - down for down, later in pairwise(downs)] == pytest.approx([13.0] * (len(downs) - 1))


def test_phases_of_two_clients_differ_and_repeat() -> None:
    periodic = PeriodicAvailability(period_s=20.0, down_s=1.0, random_phase=True)
    scenario = still_world("phases", 2).replace({"groups.c.availability": periodic}, horizon_s=100.0)
    found = outages_of(scenario)
    assert found["c-0"][0] != found["c-1"][0]
    assert outages_of(scenario) == found


def test_bad_input() -> None:
    shared = OnOffMarkov(up_mean_s=30.0, down_mean_s=2.0, scope="shared")
    with pytest.raises(ConfigError, match=r'region x goes down as one; set availability.scope = "shared"'):
        Region(name="x", groups=("c",), availability=OnOffMarkov(up_mean_s=30.0, down_mean_s=2.0))
    with pytest.raises(ConfigError, match="region x names 'y', which is no group; there are c"):
        still_world("x", 1).replace(regions=(Region(name="x", groups=("y",), availability=shared),))
    with pytest.raises(ConfigError, match="two drawn_faults have the same name"):
        still_world("x", 1).replace(drawn_faults=(OUTAGES, OUTAGES))
    with pytest.raises(ConfigError, match="a reset has no duration_s; remove duration"):
        DrawnFaults(name="r", fault=Reset(at_s=0.0), every=Constant(value=1.0), duration=Constant(value=1.0))
    with pytest.raises(ConfigError, match="a server_restart hits everyone; remove share"):
        DrawnFaults(name="r", fault=ServerRestart(at_s=0.0, duration_s=1.0), every=Constant(value=1.0), share=0.5)
    gone = msgspec.structs.replace(OUTAGES, fault=Outage(at_s=0.0, duration_s=1.0, clients=("nobody",)))
    with pytest.raises(ConfigError, match=r"drawn_faults.gaps.fault.clients names 'nobody'"):
        still_world("x", 1).replace(drawn_faults=(gone,))
    with pytest.raises(ConfigError, match='up_from = "reconnect" is of each client by itself'):
        AlternatingRenewal(up=Constant(value=1.0), down=Constant(value=1.0), up_from="reconnect", scope="shared")
    flaky = AlternatingRenewal(up=Constant(value=1.0), down=Constant(value=1.0), up_from="reconnect")
    with pytest.raises(ConfigError, match="happens in the simulator only"):
        list(comings_and_goings(still_world("x", 1).replace({"groups.c.availability": flaky}), RandomStreams(1)))
