"""A server with a capacity: its queues compared with closed forms, and overload of a fleet with its remedies."""

import math
from collections import Counter

import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.hosts.capacity import Listener, ProcessorQueue
from simulation.network.connection import AcceptedConnection, TcpConnection
from simulation.network.http_connection import HttpConnection
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Exponential
from simulation.scenario.faults import BlockUpgrade, Fault, Pause, Reset
from simulation.scenario.scenario import Capacity, ClientPart, Group, Scenario, ServerPart, Shedding, Workload
from simulation.trace.trace import (
    AcceptedRecord,
    ConnectionLost,
    Delivered,
    Published,
    QueuePeaked,
    QueueSampled,
    Record,
    SessionJoined,
    StateTurned,
    WaitAsked,
    WorkSampled,
)
from simulation.world import Result, World, run
from tests.simulation.worlds import QUIET, calm

DRAWS = RandomStreams(1).of("test")


def exponential_s(mean_s: float, purpose: str, index: int) -> float:
    return -mean_s * math.log1p(-DRAWS.uniform(purpose, index))


def mean_wait_s(processors: int, *, per_s: float, service_s: float, jobs: int, is_exponential: bool) -> float:
    """Of Poisson arrivals at a queue."""
    clock = Clock()
    work = ProcessorQueue(clock, processors)
    at_s = 0.0
    for number in range(jobs):
        at_s += exponential_s(1 / per_s, "arrival", number)
        cost_s = exponential_s(service_s, "service", number) if is_exponential else service_s
        Call(clock, ns(at_s), ARRIVAL, lambda call: work.submit(call.argument, lambda _: None), ns(cost_s))
    clock.run()
    assert work.jobs == jobs
    return work.waited / jobs / NS_PER_S


# The queue.


@pytest.mark.slow
@pytest.mark.parallel
def test_the_mean_wait_of_one_processor() -> None:
    """M/D/1: rho * s / (2 (1 - rho))."""
    assert mean_wait_s(1, per_s=0.7, service_s=1.0, jobs=20_000, is_exponential=False) == pytest.approx(0.7 / 0.6, rel=0.1)


@pytest.mark.slow
@pytest.mark.parallel
def test_the_mean_wait_of_several_processors() -> None:
    """M/M/c by Erlang C: for c = 3 and rho = 0.5 the chance to wait is 9/38, and the mean wait that by c mu - lambda."""
    assert mean_wait_s(3, per_s=1.5, service_s=1.0, jobs=20_000, is_exponential=True) == pytest.approx(9 / 38 / 1.5, rel=0.1)


def test_what_a_job_sends_keeps_its_processor() -> None:
    clock = Clock()
    work = ProcessorQueue(clock, 1)
    reported: list[tuple[str, int, int]] = []

    def fan_out(name: str) -> None:
        reported.extend((name, clock.now, work.spend(3)) for _ in range(2))

    work.submit(10, fan_out, "a")
    work.submit(10, fan_out, "b")
    clock.run()
    assert reported == [("a", 10, 3), ("a", 10, 6), ("b", 26, 3), ("b", 26, 6)]
    assert (work.busy, work.waited, work.waited_max) == (32, 16, 16)


def test_the_jobs_of_one_connection_are_done_in_order() -> None:
    clock = Clock()
    work = ProcessorQueue(clock, 2)
    link = link_of_nobody()
    reported: list[tuple[int, str]] = []
    for cost, name in ((10, "long"), (1, "short")):
        work.submit(cost, lambda name: reported.append((clock.now, name)), name, link=link)
    clock.run()
    assert reported == [(10, "long"), (10, "short")]


def link_of_nobody() -> TcpConnection:
    """A connection on which nothing is said."""
    world = World(calm(1))
    link = HttpConnection(world.access_links["c-0"], world.clients["c-0"], world.server, 1)
    link.taken = AcceptedConnection()
    return link


def test_a_job_that_has_waited_for_too_long_is_done_in_another_way() -> None:
    clock = Clock()
    work = ProcessorQueue(clock, 1)
    reported: list[tuple[str, int]] = []
    for name in ("first", "second", "third"):
        work.submit(
            100,
            lambda name: reported.append((name, clock.now)),
            name,
            patience=100,
            too_late=lambda name: reported.append((f"{name} too late", clock.now)),
            too_late_cost=1,
        )
    clock.run()
    assert reported == [("first", 100), ("second", 200), ("third too late", 201)]


def test_a_pause_moves_everything_by_its_length() -> None:
    clock = Clock()
    work = ProcessorQueue(clock, 1)
    listener = Listener(work, accepts_per_s=0.1 * NS_PER_S, backlog_max=10)
    reported: list[tuple[str, int]] = []
    for name in ("a", "b"):
        work.submit(100, lambda name: reported.append((name, clock.now)), name)
    assert [listener.take() for _ in range(3)] == [0, 10, 20]
    Call(clock, 50, ARRIVAL, lambda _: work.pause())
    Call(clock, 60, ARRIVAL, lambda _: work.submit(5, lambda _: reported.append(("c", clock.now))))
    Call(clock, 1050, ARRIVAL, lambda _: work.resume())
    clock.run()
    assert reported == [("a", 1100), ("b", 1200), ("c", 1205)]


# The listener.


def test_the_herd_at_the_listener() -> None:
    """N uniform over W at rate mu, N / W > mu: the last is taken at N / mu, the mean wait is W (N / W - mu) / (2 mu), and the
    backlog at W is N - mu W."""
    clients, within_s, per_s = 4000, 2.0, 500.0
    clock = Clock()
    listener = Listener(ProcessorQueue(clock, 1), per_s, backlog_max=clients)
    waits, last, backlogs = [], 0, []
    for at in sorted(ns(within_s * DRAWS.uniform("herd", number)) for number in range(clients)):
        clock.run(until=at + 1)
        taken_at = listener.take()
        assert taken_at is not None
        waits.append((taken_at - clock.now) / NS_PER_S)
        last, backlogs = taken_at, [*backlogs, listener.backlog]
    assert last / NS_PER_S == pytest.approx(clients / per_s, rel=0.01)
    assert sum(waits) / clients == pytest.approx(within_s * (clients / within_s - per_s) / (2 * per_s), rel=0.03)
    assert backlogs[-1] == pytest.approx(clients - per_s * within_s, rel=0.01)
    assert listener.dropped == 0


def test_a_full_backlog_drops_syns_and_they_are_sent_again() -> None:
    capacity = Capacity(accepts_per_s=5.0, accept_backlog_max=4)
    result = served(capacity, clients=20, settle_s=60.0, sample_interval_s=0.2)
    dropped = sum(sample.syns_dropped for sample in of(result, WorkSampled))
    assert dropped >= 15  # at most one is taken at once, and four wait
    assert {client.state.value for client in result.trace_index.clients.values()} == {"live"}
    assert max(sample.length for sample in of(result, QueueSampled) if sample.queue == "accept backlog") <= 4
    joined = [join.at / NS_PER_S for join in of(result, SessionJoined)]
    assert min(joined) < 0.3
    assert max(joined) > 2.0


# A server in a world.


def served(capacity: Capacity, *faults: Fault, clients: int = 4, **changes: object) -> Result:
    part = changes.pop("server", ServerPart(capacity=capacity))
    result = run(calm(clients, server=part, workload=changes.pop("workload", QUIET), faults=faults, **changes))
    assert result.is_ok, [text for verdict in result.verdicts.values() for text in verdict.violations]
    return result


def of(result: Result, kind: type) -> list:
    return [record for record in result.trace if isinstance(record, kind)]


def cost(seconds: float) -> Constant:
    return Constant(value=seconds)


def test_a_capacity_that_costs_nothing_changes_nothing() -> None:
    def reported(result: Result) -> list[Record]:
        added = {"work queue", "accept backlog"}
        return [
            record
            for record in result.trace
            if not isinstance(record, WorkSampled)
            and not (isinstance(record, QueueSampled | QueuePeaked) and record.queue in added)
        ]

    scenario = calm(3, workload=Workload(cursor_per_s=1), faults=(Reset(at_s=3), Pause(at_s=5, duration_s=1)))
    assert reported(run(scenario.replace(server=ServerPart(capacity=Capacity())))) == reported(run(scenario))


def test_clients_that_come_at_once_wait_for_each_other() -> None:
    """0.04 s of latency four times, and each handshake and each hello in turn."""
    result = served(Capacity(handshake_cost=cost(0.1), authentication_cost=cost(0.2), frame_cost=cost(0.05)))
    joined = [round(join.at / NS_PER_S, 6) for join in of(result, SessionJoined)]
    # Upgrades are done at 0.06 + 0.1 n; the first hello comes at 0.2, when two upgrades wait before it.
    assert joined == [0.71, 0.96, 1.21, 1.46]


def test_a_fan_out_reaches_one_reader_after_the_other() -> None:
    workload = Workload(graft_per_s=0.2, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
    result = served(Capacity(delivery_cost=cost(0.01)), clients=10, workload=workload)
    spreads = Counter[float]()
    by_number: dict[int, list[int]] = {}
    for record in of(result, Delivered):
        by_number.setdefault(record.sequence_number, []).append(record.at)
    for times in by_number.values():
        if len(times) == 10:
            spreads[round((max(times) - min(times)) / NS_PER_S, 3)] += 1
    assert spreads.most_common(1)[0][0] == 0.09


def test_a_replay_costs_by_its_events() -> None:
    scenario = calm(2, workload=Workload(graft_per_s=5, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0))
    late = Group(name="late", arrive_within_s=0.0)

    def busy_s(replay_cost_s: float) -> float:
        part = ServerPart(capacity=Capacity(replay_event_cost=cost(replay_cost_s)))
        config = ClientConfig(start="oldest")
        groups = (*scenario.groups, late)
        result = run(scenario.replace(groups=groups, server=part, client=ClientPart(config=config), faults=(Reset(at_s=5),)))
        replayed = sum(join.replayed for join in of(result, SessionJoined))
        assert replayed > 0
        return sum(sample.busy_s for sample in of(result, WorkSampled)) / replayed

    assert busy_s(0.001) == pytest.approx(0.001, rel=0.5)
    assert busy_s(0.0) == 0


def test_what_the_machine_does_is_sampled() -> None:
    result = served(Capacity(processors=2, handshake_cost=cost(0.5), frame_cost=Exponential(scale=0.01)), clients=8)
    first = of(result, WorkSampled)[0]
    assert (first.at, first.shed, first.syns_dropped) == (NS_PER_S, 0, 0)
    assert first.busy_s == pytest.approx(1.0, abs=0.2)  # two of them, of each the first second but for the way there
    assert first.waited_max_s >= first.waited_s / first.jobs >= 0
    queue = [sample for sample in of(result, QueueSampled) if sample.queue == "work queue"]
    assert queue[0].length == 6  # eight came, two are done and have said hello, two are being done
    assert result.verdicts["G7"].checked > 0


def test_a_store_takes_its_time_by_law_and_by_event() -> None:
    part = ServerPart(commit_time=Exponential(scale=0.05, least=0.2), commit_event_time_s=0.1)
    result = served(Capacity(), clients=1, server=part, workload=Workload(cursor_per_s=0))
    published = {record.ticket: record.at for record in of(result, Published)}
    took_s = [(record.at - published[record.ticket]) / NS_PER_S - 0.04 for record in of(result, AcceptedRecord)]
    assert min(took_s) >= 0.3
    assert len(set(took_s)) > 1


def test_a_client_that_would_wait_too_long_in_the_queue_is_asked_to_come_later() -> None:
    shedding = Shedding(queue_wait_max_s=0.5, retry_after_s=3.0, spread_s=2.0)
    result = served(Capacity(authentication_cost=cost(0.2), shedding=shedding), clients=12, settle_s=20.0)
    shed = of(result, WaitAsked)
    assert len(shed) == sum(sample.shed for sample in of(result, WorkSampled)) >= 6
    assert {(wait.retry_after_ms, wait.spread_ms) for wait in shed} == {(3000, 2000)}
    assert {client.state.value for client in result.trace_index.clients.values()} == {"live"}
    assert result.verdicts["G10"].ok


def test_requests_are_turned_away_with_a_wait_that_is_drawn() -> None:
    """A polling client gets the wait over HTTP, which has no field for a spread."""
    config = ClientConfig(fallback_after_failures=1)
    shedding = Shedding(queue_wait_max_s=0.2, retry_after_s=2.0, spread_s=4.0)
    capacity = Capacity(authentication_cost=cost(0.3), shedding=shedding)
    blocked = BlockUpgrade(at_s=9, duration_s=8)
    group = Group(name="c", clients=10, arrive_within_s=8.0)
    result = served(capacity, blocked, groups=(group,), client=ClientPart(config=config), settle_s=60.0)
    waits = [wait.retry_after_ms for wait in of(result, WaitAsked) if not wait.spread_ms]
    assert len(set(waits)) > 3
    assert all(2000 <= wait <= 6000 for wait in waits)
    refused = [loss for loss in of(result, ConnectionLost) if loss.request is not None]
    assert {loss.code for loss in refused} == {CloseCode.OVERLOADED}


# Metastable overload.


def overloaded(policy: object, shedding: Shedding | None = None) -> Result:
    """Ninety clients that came one after the other, which the server bore well; then all are cut at once. It could take them all
    in 45 s, but nobody waits for longer than 10 s, and the work that was done for who has left is lost."""
    capacity = Capacity(handshake_cost=cost(0.2), authentication_cost=cost(0.3), shedding=shedding)
    return run(
        Scenario(
            name="metastable",
            groups=(Group(name="c", clients=90, arrive_within_s=90.0),),
            workload=QUIET,
            horizon_s=100.0,
            settle_s=300.0,
            faults=(Reset(at_s=100.0),),
            server=ServerPart(capacity=capacity),
            client=ClientPart(config=ClientConfig(fallback_after_failures=None), policy=policy),
        )
    )


def states(result: Result, at_s: float) -> Counter[str]:
    now: dict[str, str] = {}
    for turn in of(result, StateTurned):
        if turn.at <= ns(at_s):
            now[turn.client] = turn.state.value
    return Counter(now.values())


@pytest.mark.slow
@pytest.mark.parallel
def test_overload_that_feeds_itself_stays_when_its_cause_has_gone() -> None:
    result = overloaded(Fixed(seconds=5.0))
    assert states(result, 99.0) == {"live": 90}
    assert states(result, 400.0)["live"] == 0
    assert result.verdicts["G6"].violated
    last_minute = [sample for sample in of(result, WorkSampled) if sample.at > ns(340.0)]
    assert sum(sample.busy_s for sample in last_minute) == pytest.approx(60.0, abs=1.0)  # busy with what is for nothing
    assert not [join for join in of(result, SessionJoined) if join.at > ns(200.0)]


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize(
    ("policy", "shedding"),
    [(Fixed(seconds=5.0), Shedding(spread_s=30.0)), (FullJitter(cap_s=60.0), None)],
    ids=["shedding", "jitter"],
)
def test_shedding_or_jitter_cures_it(policy: object, shedding: Shedding | None) -> None:
    result = overloaded(policy, shedding)
    assert states(result, 400.0) == {"live": 90}
    assert result.is_ok
