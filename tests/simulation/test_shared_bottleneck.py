"""A bottleneck that clients share: processor sharing."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.cell import Cell, SimulatedCell
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import Outage
from simulation.scenario.paths import BernoulliLoss, Path, SharedBottleneck, Tcp
from simulation.scenario.scenario import Capacity, ClientPart, Group, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.testing import rich_paths
from simulation.trace.trace import WorkSampled
from simulation.world import Result, run
from tests.simulation.pipes import Owner, at


def departures_s(jobs: list[tuple[float, str, int]], bytes_per_s: float = 100.0) -> list[float]:
    """When things leave that come at these times, of these clients, of these sizes."""
    clock, left = Clock(), [0.0] * len(jobs)
    cell = SimulatedCell(clock, bytes_per_s)

    def enter(call: Call) -> None:
        _, client, size = jobs[call.argument]
        cell.enter(client, size, lambda: left.__setitem__(call.argument, clock.now / NS_PER_S))

    for number, (at_s, _, _) in enumerate(jobs):
        Call(clock, ns(at_s), ARRIVAL, enter, number)
    clock.run()
    return left


def test_clients_share_and_what_one_sends_stays_in_order() -> None:
    assert departures_s([(0.0, "a", 100)]) == [1.0]
    assert departures_s([(0.0, "a", 100), (0.0, "b", 100)]) == [2.0, 2.0]
    # b comes when half of a is served; a has 50 left, at half the rate.
    assert departures_s([(0.0, "a", 100), (0.5, "b", 100)]) == [1.5, 2.0]
    assert departures_s([(0.0, "a", 100), (0.0, "a", 100), (0.0, "b", 100)]) == [2.0, 3.0, 2.0]
    assert departures_s([(0.0, "a", 100), (0.0, "b", 10_000)])[0] == 2.0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from("abc"), st.integers(1, 500)), min_size=1, max_size=20))
def test_no_service_is_lost_and_none_is_made(jobs: list[tuple[float, str, int]]) -> None:
    """It works whenever there is something to do: the last departure is that of any queue that does not idle."""
    free_s = 0.0
    for at_s, _, size in sorted(jobs):
        free_s = max(free_s, at_s) + size / 100.0
    left = departures_s(jobs)
    assert max(left) == pytest.approx(free_s, abs=1e-6)
    assert all(departure >= job[0] + job[2] / 100.0 - 1e-6 for departure, job in zip(left, jobs, strict=True))


def test_pure_cell_says_when_something_departs() -> None:
    cell = Cell(NS_PER_S)  # a byte takes 1 ns
    assert cell.next_at() is None
    cell.enter(0, "a", 10, lambda: None)
    cell.enter(4, "b", 10, lambda: None)
    assert cell.next_at() == 16
    assert len(cell.depart(15)) == 0
    assert len(cell.depart(16)) == 1
    assert cell.next_at() == 20


@settings(max_examples=30, deadline=None)
@given(
    path=rich_paths(),
    sizes=st.lists(st.sampled_from([0, 1, 1460, 20_000]), min_size=1, max_size=20),
    faults=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=3),
)
def test_everything_gets_through_a_cell_once_and_in_order(
    path: Path, sizes: list[int], faults: list[tuple[float, float]]
) -> None:
    clock = Clock()
    owner, cell = Owner(clock), SimulatedCell(clock, 5_000.0)
    lane = SimulatedPipe(
        clock,
        directions_of(path).down,
        RandomStreams(3).of("lane"),
        owner,
        enter_cell=lambda size, departed: cell.enter("c", size, departed),
    )
    seen: list[int] = []
    for number, size in enumerate(sizes):
        at(clock, 0.7 * number, lambda number=number, size=size: lane.push(seen.append, number, size))
    for at_s, lasts_s in faults:
        at(clock, at_s, lane.hold)
        at(clock, at_s + lasts_s, lane.release)
    clock.run(ns(5000))
    if owner.gave_up_at:
        assert seen == sorted(set(seen))
    else:
        assert seen == list(range(len(sizes)))
        assert (lane.half.bytes_held, len(lane)) == (0, 0)


def test_a_crowd_in_one_cell_breaks_no_guarantee() -> None:
    cell = SharedBottleneck(bandwidth_bytes_per_s=20_000.0)
    path = Path(latency_s=0.05, tcp=Tcp(congestion="linux"), loss=BernoulliLoss(probability=0.01))
    scenario = Scenario(
        name="cell",
        groups=(Group(name="c", clients=20, path=path, shared_bottleneck=cell, arrive_within_s=0.0),),
        faults=(Outage(at_s=10.0, duration_s=4.0),),
        horizon_s=30.0,
    )
    assert run(scenario).is_ok


def opened(cell: SharedBottleneck | None, clients: int, capacity: Capacity, **changes: object) -> Result:
    """Clients that dial at one instant, and do nothing else, with a cell or without one."""
    scenario = still_world("opened", clients, Path(latency_s=0.05), sample_interval_s=1.0).replace(**changes)
    part = msgspec.structs.replace(scenario.server, capacity=capacity)
    return run(scenario.replace({"groups.c.shared_bottleneck": cell}, server=part, client=ClientPart(config=PATIENT_CLIENT)))


def test_a_syn_that_was_dropped_is_sent_again_in_its_time() -> None:
    """The first is accepted, the second waits; the third's SYN finds no place at 0, 1, 2, 3, 4, 5, 7, 11 and 19 s."""
    for cell in (None, SharedBottleneck(bandwidth_bytes_per_s=1e9)):
        result = opened(cell, 3, Capacity(accepts_per_s=0.01, accept_backlog_max=1), horizon_s=21.0)
        assert sum(record.syns_dropped for record in result.trace if isinstance(record, WorkSampled)) == 9


def test_a_frame_enters_a_cell_when_a_busy_server_has_sent_it() -> None:
    """A welcome costs a second of the processor. A cell that is never full makes no difference."""
    live_at = []
    for cell in (None, SharedBottleneck(bandwidth_bytes_per_s=1e12)):
        result = opened(cell, 1, Capacity(delivery_cost=Constant(value=1.0)), horizon_s=10.0)
        turns = result.trace_index.clients["c-0"].turns()
        live_at.append(next(turn.at / NS_PER_S for turn in turns if turn.state is ClientState.LIVE))
    assert live_at[0] > 1.0
    assert live_at[1] == pytest.approx(live_at[0], abs=1e-6)
