"""Reconnect storms in front of a server: ports that run out, full SYN queues, resumed TLS sessions. By hand."""

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import Clock
from simulation.hosts.capacity import Listener, ProcessorQueue
from simulation.network.ports import Ports
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import LoadBalancerCut, Reset, ServerRestart
from simulation.scenario.paths import Path, PortPool, Tcp
from simulation.scenario.scenario import Capacity, ClientPart, Scenario, ServerPart
from simulation.scenario.still_world import PATIENT_CLIENT, PATIENT_SERVER, still_world
from simulation.trace.trace import PathTroubled, QueueSampled, StateTurned
from simulation.world import World, run

LATENCY_S = 0.05


def carried_s(scenario: Scenario, from_s: float = 0.0) -> list[float]:
    """When each client was first carried from that time on, in order."""
    times = []
    for client in run(scenario).trace_index.clients.values():
        turns = (record.at / NS_PER_S for record in client.records if isinstance(record, StateTurned) and record.is_carried)
        times += [at_s for at_s in turns if at_s > from_s][:1]
    return sorted(times)


def test_a_port_waits_after_a_close_and_not_after_a_reset() -> None:
    clock = Clock()
    ports = Ports(clock, PortPool(ports=2, time_wait_s=60.0))
    assert [ports.take(), ports.take(), ports.take()] == [True, True, False]
    ports.give_back(is_reset=True)
    assert ports.take()
    ports.give_back(is_reset=False)
    assert (ports.used, ports.taken, ports.take()) == (1, 2, False)
    clock.run(ns(59.9))
    assert not ports.take()
    clock.run(ns(60.0))
    assert ports.take()


@pytest.mark.parametrize("where", ["groups.c.nat", "server.balancer"])
def test_who_finds_no_port_dials_by_the_schedule_of_a_syn(where: str) -> None:
    """Three of five get through; the others' SYNs are dropped, sent again after 1, 2, 3, 4, 5, 7 s, ... and the reset at 6.5 s
    frees the ports: with 7 s both are in, beside those that were cut and dial at once, in ports of which there are five then."""
    scenario = still_world("ports", 5, Path(latency_s=LATENCY_S)).replace({where: PortPool(ports=3)})
    first = carried_s(scenario)
    assert first == pytest.approx([6 * LATENCY_S] * 3)
    freed = scenario.replace(faults=(Reset(at_s=6.5, clients=("c-0", "c-1")),), horizon_s=60.0).replace(
        {"client.policy": {"kind": "fixed", "seconds": 20.0}}
    )
    late = [at_s for at_s in carried_s(freed) if at_s > 6.5]
    assert late == pytest.approx([7.0 + 6 * LATENCY_S] * 2)


def test_a_balancer_without_ports_refuses_and_says_so() -> None:
    scenario = still_world("ports", 5, Path(latency_s=LATENCY_S)).replace(
        {"server.balancer": PortPool(ports=3, when_exhausted="reset")}, sample_interval_s=1.0
    )
    result = run(scenario)
    troubles = [record for record in result.trace if isinstance(record, PathTroubled)]
    assert {record.what for record in troubles} == {"no_port"}
    assert len(troubles) > 2  # they come again
    samples = [record for record in result.trace if isinstance(record, QueueSampled) and record.queue == "ports"]
    assert [(record.place, record.length, record.limit) for record in samples] == [("balancer", 3, 3)]


def test_a_storm_of_closes_uses_up_the_ports_of_a_balancer() -> None:
    """Ten clients that are asked to leave have ten ports waiting for 60 s; of twelve ports two are left for reconnects."""
    config = msgspec.structs.replace(PATIENT_CLIENT, first_spread_s=0.0)
    scenario = still_world("storm", 10, Path(latency_s=LATENCY_S)).replace(
        client=ClientPart(config=config),
        server=ServerPart(
            config=PATIENT_SERVER,
            commit_time_s=0.0,
            balancer=PortPool(ports=12, when_exhausted="reset"),
            go_away_retry_after_s=1.0,
            go_away_spread_s=0.0,
        ),
        faults=(ServerRestart(at_s=10.0, duration_s=0.5, is_graceful=True),),
        horizon_s=200.0,
    )
    back = carried_s(scenario, from_s=11.0)
    assert sum(at_s < 60.0 for at_s in back) == 2
    assert sum(at_s > 70.0 for at_s in back) == 8


def test_a_full_backlog_of_syns_is_bridged_by_cookies_or_drops() -> None:
    listeners = {}
    for cookies in (True, False):
        clock = Clock()
        listener = Listener(ProcessorQueue(clock, 1), None, 4096, 2, syn_cookies=cookies)
        taken = [listener.take(ns(0.1)) is not None for _ in range(5)]
        clock.run(ns(0.1))
        listeners[cookies] = (taken, listener.dropped, listener.take(ns(0.1)) is not None)
    assert listeners[True] == ([True] * 5, 0, True)
    assert listeners[False] == ([True, True, False, False, False], 3, True)


def test_a_syn_that_finds_no_place_to_be_accepted_takes_none_in_the_syn_backlog() -> None:
    """One is accepted, one waits for a second, and two are dropped; a place of three is free when the one has been accepted."""
    clock = Clock()
    listener = Listener(ProcessorQueue(clock, 1), 1.0, 1, 3, syn_cookies=False)
    assert [listener.take(ns(10)) is not None for _ in range(4)] == [True, True, False, False]
    clock.run(ns(1.5))
    assert listener.take(ns(10)) is not None


def test_handshakes_go_on_while_the_process_is_paused() -> None:
    clock = Clock()
    work = ProcessorQueue(clock, 1)
    listener = Listener(work, None, 4096, 1, syn_cookies=False)
    work.pause()
    assert [listener.take(ns(0.1)) is not None for _ in range(2)] == [True, False]
    clock.run(ns(0.1))
    assert listener.take(ns(0.1)) is not None


def test_a_storm_without_cookies_comes_in_waves_of_the_backlog() -> None:
    """Forty SYNs in one instant and ten places, each for one round trip: ten at once and ten a second, as they are sent again."""
    capacity = Capacity(syn_backlog_max=10, syn_cookies=False)
    scenario = still_world("syns", 40, Path(latency_s=LATENCY_S)).replace({"server.capacity": capacity})
    waves = [at_s - 6 * LATENCY_S for at_s in carried_s(scenario)]
    assert waves == pytest.approx([0.0] * 10 + [1.0] * 10 + [2.0] * 10 + [3.0] * 10, abs=1e-6)
    assert carried_s(scenario.replace({"server.capacity.syn_cookies": True})) == pytest.approx([6 * LATENCY_S] * 40)


@pytest.mark.parametrize(("tls", "first_rounds", "later_rounds"), [("1.3", 4, 4), ("1.2", 5, 4)])
def test_a_resumed_handshake_takes_one_round_trip(tls: str, first_rounds: int, later_rounds: int) -> None:
    """TCP 1, TLS 1 or 2, upgrade 1, hello 1."""
    path = Path(latency_s=LATENCY_S, tcp=Tcp(tls=tls, tls_ticket_s=3600.0))  # type: ignore[arg-type]
    scenario = still_world("tls", 1, path).replace(faults=(LoadBalancerCut(at_s=10.0),), horizon_s=60.0)
    scenario = scenario.replace({"client.policy": {"kind": "fixed", "seconds": 0.5}, "client.config.first_spread_s": 0.0})
    assert carried_s(scenario) == [pytest.approx(2 * LATENCY_S * first_rounds)]
    assert carried_s(scenario, 10.0) == [pytest.approx(10.5 + 2 * LATENCY_S * later_rounds)]
    forgotten = scenario.replace({"groups.c.path.tcp.tls_ticket_s": 5.0})
    assert carried_s(forgotten, 10.0) == [pytest.approx(10.5 + 2 * LATENCY_S * first_rounds)]


@pytest.mark.parametrize(("keeps_keys", "work_s"), [(True, 0.2), (False, 1.0)])
def test_a_restart_that_forgets_its_keys_pays_for_every_handshake(keeps_keys: bool, work_s: float) -> None:
    """Ten clients: 10 x 0.1 s for full handshakes, 10 x 0.02 s for resumed ones."""
    capacity = Capacity(handshake_cost=Constant(value=0.1), resumption_cost=Constant(value=0.02))
    path = Path(latency_s=LATENCY_S, tcp=Tcp(tls="1.3", tls_ticket_s=3600.0))
    scenario = still_world("keys", 10, path).replace(
        {"client.policy": {"kind": "fixed", "seconds": 5.0}, "client.config.first_spread_s": 0.0},
        server=ServerPart(config=PATIENT_SERVER, commit_time_s=0.0, capacity=capacity, keeps_ticket_keys=keeps_keys),
        faults=(ServerRestart(at_s=20.0, duration_s=1.0),),
        horizon_s=60.0,
    )
    world = World(scenario)
    world.run()
    assert world.server.process is not None
    assert world.server.process.work.busy / NS_PER_S == pytest.approx(work_s)


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="tls_ticket_s needs a handshake to resume"):
        Tcp(tls_ticket_s=1.0)
    with pytest.raises(ConfigError, match="ports"):
        still_world("x", 1).replace({"groups.c.nat": {"ports": 0}})
