"""Races of timers: a middlebox that counts bytes, late timers, TCP's keepalive and user timeout."""

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import TimerLateness
from simulation.network.tcp import gives_up_after
from simulation.random import RandomStreams
from simulation.scenario.faults import HalfOpen, Outage, ServerRestart
from simulation.scenario.paths import Middlebox, Path, Tcp, TcpKeepalive
from simulation.scenario.scenario import ClientPart, Scenario, ServerPart
from simulation.scenario.still_world import NEVER_S, PATIENT_CLIENT, still_world
from simulation.trace.trace import PathTroubled
from simulation.world import run
from tests.simulation.pipes import at, pipe_of
from tests.simulation.worlds import lost


def pinging(ping_s: float, box: Middlebox, *, latency_s: float = 0.05, tcp: Tcp | None = None, **client: float) -> Scenario:
    """One client that pings, and nothing else, for two hours."""
    config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=ping_s, ping_timeout_s=10.0)
    path = Path(latency_s=latency_s, middlebox=box, tcp=tcp or Tcp())
    return still_world("pinging", 1, path).replace(client=ClientPart(config=config, **client), horizon_s=7200.0)


def kills(scenario: Scenario) -> list[float]:
    trace = run(scenario).trace
    return [record.at / NS_PER_S for record in trace if isinstance(record, PathTroubled) and record.what.startswith("idle")]


def test_a_ping_as_often_as_the_box_forgets_is_saved_by_its_answer() -> None:
    """The answer passes the box one round trip after the ping; the next ping has that long."""
    assert kills(pinging(60.0, Middlebox(idle_timeout_s=60.0, place=0.0))) == []


def test_a_late_timer_loses_the_race() -> None:
    box = Middlebox(idle_timeout_s=60.0, place=0.0)
    found = kills(pinging(60.0, box, timer_slack_s=0.5))
    # Late by U(0, 500) ms, with 100 ms of grace: four of five pings come too late.
    assert len(found) > 70
    assert kills(pinging(30.0, box, timer_slack_s=0.5)) == []


def test_where_the_box_stands_is_how_long_the_answer_keeps_it_awake() -> None:
    """At the client it passes a round trip later than the ping; beside the server with it, and the next ping has no grace."""
    assert len(kills(pinging(60.0, Middlebox(idle_timeout_s=60.0, place=1.0), timer_slack_s=0.05))) > 95
    assert kills(pinging(60.0, Middlebox(idle_timeout_s=60.0, place=0.0), timer_slack_s=0.05)) == []
    assert kills(pinging(59.0, Middlebox(idle_timeout_s=60.0, place=1.0), timer_slack_s=0.05)) == []


def test_a_box_that_sweeps_forgets_later() -> None:
    exact = kills(pinging(120.0, Middlebox(idle_timeout_s=60.0)))[0]
    swept = kills(pinging(120.0, Middlebox(idle_timeout_s=60.0, idle_sweep_s=20.0)))[0]
    assert 0 < swept - exact < 20


def test_what_an_outage_keeps_from_the_box_does_not_count_there() -> None:
    box = Middlebox(idle_timeout_s=20.0)
    scenario = pinging(5.0, box).replace(faults=(Outage(at_s=100.0, duration_s=30.0, direction="up"),), horizon_s=200.0)
    scenario = scenario.replace({"client.config.ping_timeout_s": NEVER_S})
    found = kills(scenario)
    assert found
    assert 115.0 < found[0] < 121.0


@pytest.mark.parametrize("congestion", ["none", "linux"])
def test_what_the_server_sends_in_an_outage_passes_a_box_beside_it(congestion: str) -> None:
    """Its heartbeats keep the connection there, although they are lost on the link."""
    scenario = pinging(5.0, Middlebox(idle_timeout_s=20.0), tcp=Tcp(congestion=congestion))  # type: ignore[arg-type]
    scenario = scenario.replace(faults=(Outage(at_s=100.0, duration_s=40.0),), horizon_s=200.0)
    config = {"client.config.ping_timeout_s": NEVER_S, "server.config.heartbeat_interval_s": 5.0}
    assert kills(scenario.replace(config)) == []


def test_keepalives_pass_the_box_and_keep_the_connection() -> None:
    box = Middlebox(idle_timeout_s=60.0)
    assert kills(pinging(1000.0, box))
    assert kills(pinging(1000.0, box, tcp=Tcp(keepalive=TcpKeepalive(idle_s=45.0)))) == []


def test_keepalive_finds_a_half_open_connection() -> None:
    tcp = Tcp(keepalive=TcpKeepalive(idle_s=30.0, interval_s=5.0, probes=3))
    scenario = still_world("half_open", 1, Path(latency_s=0.05, tcp=tcp)).replace(
        client=ClientPart(config=PATIENT_CLIENT), faults=(HalfOpen(at_s=100.0),), horizon_s=300.0
    )
    at_s, message = lost(scenario)[0]
    assert message == "the connection timed out"
    assert 100.0 < at_s <= 100.0 + 30.0 + 3 * 5.0


def test_keepalive_is_answered_by_a_reset_where_the_connection_is_forgotten() -> None:
    tcp = Tcp(keepalive=TcpKeepalive(idle_s=30.0))
    faults = (Outage(at_s=100.0, duration_s=5.0), ServerRestart(at_s=101.0, duration_s=1.0))
    scenario = still_world("forgotten", 1, Path(latency_s=0.05, tcp=tcp)).replace(
        client=ClientPart(config=PATIENT_CLIENT), faults=faults, horizon_s=300.0
    )
    at_s, message = lost(scenario)[0]
    assert message == "the connection was reset"
    assert 105.0 < at_s < 135.2


def test_the_user_timeout_is_in_place_of_the_retries() -> None:
    assert gives_up_after(Tcp(user_timeout_s=20.0)) == ns(20.0)


def test_timers_go_off_at_ticks_and_within_their_slack() -> None:
    """One tick each 10 ms; two clients have not the same ones, or a storm would come in bursts."""
    phases = []
    for name in ("x", "y"):
        exact, late = (TimerLateness(ns(0.01), ns(slack_s), RandomStreams(1).of(name)) for slack_s in (0.0, 0.004))
        asked = [ns(1.0) + step for step in range(1, 20_000_000, 99_991)]
        (phase,) = {exact.of(at) % ns(0.01) for at in asked}
        phases.append(phase)
        waits = [(exact.of(at) - at, late.of(at) - exact.of(at)) for at in asked]
        assert all(0 <= wait < ns(0.01) and 0 <= slack < ns(0.004) for wait, slack in waits)
        assert len({slack for _, slack in waits}) > 100
    assert phases[0] != phases[1]


def test_late_timers_break_no_guarantee() -> None:
    config = ClientConfig(ping_interval_s=2.0)
    scenario = Scenario(
        name="late",
        groups=still_world("x", 3).groups,
        client=ClientPart(config=config, timer_granularity_s=0.0156, timer_slack_s=0.05),
        server=ServerPart(timer_granularity_s=0.001, timer_slack_s=0.02),
        faults=(Outage(at_s=10.0, duration_s=5.0),),
        horizon_s=30.0,
    )
    assert run(scenario).is_ok


def test_bounds_allow_for_late_timers() -> None:
    """A system whose timers go off once a minute needs several minutes to recover, and no guarantee is lost by that."""
    scenario = Scenario(
        name="slow",
        groups=still_world("x", 3).groups,
        client=ClientPart(timer_granularity_s=60.0),
        server=ServerPart(config=ServerConfig(silence_max_s=600.0)),
        faults=(HalfOpen(at_s=10.0),),
        horizon_s=20.0,
    )
    plain = scenario.replace(client=ClientPart())
    assert scenario.recovery_bound_s == plain.recovery_bound_s + 8 * 60.0
    result = run(scenario)
    assert (result.verdicts["G6"].status, result.verdicts["G13"].violations) == ("held", ())


def test_each_direction_has_its_own_recordings() -> None:
    path = Path(recorded_latency=((0.0, 0.3),), up_recorded_latency=((0.0, 0.1),), deliveries_ms=(10,), up_deliveries_ms=(1, 2))
    clock, lane, seen = pipe_of(path)
    at(clock, 0.0, lambda: lane.push(lambda _: seen.append(clock.now), None, 100))
    clock.run(ns(10))
    assert seen == [ns(0.31)]
    clock, lane, seen = pipe_of(path, is_up=True)
    at(clock, 0.0, lambda: lane.push(lambda _: seen.append(clock.now), None, 100))
    clock.run(ns(10))
    assert seen == [ns(0.101)]


def test_deliveries_of_one_direction_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="up_deliveries_ms needs deliveries_ms"):
        Path(up_deliveries_ms=(1,))


def test_a_queue_without_a_bottleneck_is_refused() -> None:
    with pytest.raises(ConfigError, match="queue_bytes is the queue of a bottleneck; add"):
        Path(queue_bytes=3000)
