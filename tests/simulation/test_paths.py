"""The effect of a path and of a fault in one direction on whole connections: handshakes, middleboxes, kernels that give up."""

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from reference.protocol.config import ClientConfig
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_S
from simulation.checks.checkers import check
from simulation.scenario.distributions import LogNormal
from simulation.scenario.faults import BlockUpgrade, Direction, Fault, HalfOpen, Outage, Path
from simulation.scenario.paths import BernoulliLoss, Middlebox, OnOffMarkov, PeriodicAvailability, Tcp
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart, Workload
from simulation.testing import faults, rich_paths
from simulation.trace.trace import (
    AttemptMade,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    PathTroubled,
    RequestMade,
    SessionJoined,
    SessionLeft,
    StateTurned,
)
from simulation.world import World, run
from tests.simulation.worlds import QUIET, calm, times

LATENCY_S = 0.1
RETRIES_TWICE = Path(latency_s=LATENCY_S, tcp=Tcp(retries=2))
BUSY = Workload(graft_per_s=2, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)


def alone(*faults: Fault, config: ClientConfig | None = None, path: Path | None = None, **changes: object) -> Scenario:
    """One client that only connects, on a line of 100 ms, and waits 1 s at the most between attempts."""
    part = ClientPart(config=config or ClientConfig(), policy=FullJitter(1.0, 2.0, 1.0))
    path = path or Path(latency_s=LATENCY_S)
    return calm(1, path, **{"workload": QUIET, "faults": faults, "client": part, **changes})


# Handshakes.


@pytest.mark.parametrize(("tls", "round_trips"), [("none", 0), ("1.3", 1), ("1.2", 2)])
def test_tls_costs_round_trips(tls: str, round_trips: int) -> None:
    trace = run(alone(path=Path(latency_s=LATENCY_S, tcp=Tcp(tls=tls)))).trace
    opened = times(trace, StateTurned, state=ClientState.GREETING)
    assert opened == pytest.approx([(4 + 2 * round_trips) * LATENCY_S])


def test_polling_pays_for_tls_once() -> None:
    config = ClientConfig(fallback_after_failures=1, poll_interval_s=1.0)
    path = Path(latency_s=LATENCY_S, tcp=Tcp(tls="1.3"), middlebox=Middlebox(upgrades="block"))
    trace = run(alone(config=config, path=path)).trace
    polls = times(trace, RequestMade, request="poll")[:3]
    assert polls[1] - polls[0] == pytest.approx(6 * LATENCY_S + 1)
    assert polls[2] - polls[1] == pytest.approx(2 * LATENCY_S + 1)


def test_a_lost_syn_is_sent_again_after_a_second() -> None:
    path = Path(latency_s=LATENCY_S, loss=BernoulliLoss(probability=0.3))
    opened = [
        times(run(alone(path=path, horizon_s=9.0), seed=seed).trace, StateTurned, state=ClientState.GREETING)[:1]
        for seed in range(20)
    ]
    after = sorted(round(at[0] - 4 * LATENCY_S, 6) for at in opened if at)
    assert after[0] == 0
    assert 1.0 in after


# Upgrades.


@pytest.mark.parametrize(("how", "status"), [("block", 403), ("strip", 426)])
def test_a_middlebox_refuses_upgrades(how: str, status: int) -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(upgrades=how))
    result = run(alone(path=path, horizon_s=30.0))
    lost = times(result.trace, ConnectionLost, message=f"the upgrade was answered with HTTP {status}")
    assert lost[0] == pytest.approx(4 * LATENCY_S)
    assert result.counts.fallbacks == 1
    assert result.counts.returns_to_websocket == 0


def test_an_upgrade_that_hangs_is_given_up_by_the_connect_timeout() -> None:
    config = ClientConfig(connect_timeout_s=2.0, fallback_after_failures=2)
    trace = run(alone(BlockUpgrade(at_s=0, duration_s=9, how="hang"), config=config, horizon_s=30.0)).trace
    assert times(trace, ConnectionLeft)[0] == 2.0
    assert not times(trace, ConnectionLost)
    assert times(trace, StateTurned, state=ClientState.LIVE)


# Middleboxes that end connections.


def test_a_connection_on_which_nothing_passes_is_reset() -> None:
    # The first ping is answered at 0.8 s, the server hears nothing after that; the next ping is sent 10 s after the first.
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(idle_timeout_s=5.0, idle_effect="reset"))
    trace = run(alone(path=path)).trace
    killed = times(trace, PathTroubled, what="idle_reset")
    assert killed[0] == times(trace, ConnectionLost)[0] == times(trace, SessionLeft)[0]
    assert 5.6 <= killed[0] <= 5.9


def test_a_connection_that_was_forgotten_silently_is_noticed_by_its_next_ping() -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(idle_timeout_s=5.0))
    result = run(alone(path=path, horizon_s=60.0))
    assert not times(result.trace, ConnectionLost)
    left = times(result.trace, StateTurned, state=ClientState.WAITING)
    assert left[0] == pytest.approx(20.6)  # the ping at 10.6 s times out
    assert result.is_ok


def test_pings_keep_a_connection_alive_that_is_killed_when_idle() -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(idle_timeout_s=11.0))
    trace = run(alone(path=path, horizon_s=100.0)).trace
    assert not times(trace, PathTroubled)
    assert len(times(trace, AttemptMade, transport=Transport.WEBSOCKET)) == 1


def test_what_comes_from_the_server_keeps_a_connection_alive_too() -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(idle_timeout_s=5.0))
    groups = (Group(name="c", path=path, workload=QUIET, arrive_within_s=0.0), Group(name="d", arrive_within_s=0.0))
    config = ClientConfig(ack_interval_s=60.0)
    trace = run(alone(config=config, horizon_s=20.0).replace(groups=groups, workload=BUSY)).trace
    assert not [at for at in times(trace, PathTroubled) if at < 20.0]


def test_a_connection_ends_at_its_greatest_age() -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(connection_age_max_s=4.0))
    trace = run(alone(path=path)).trace
    assert times(trace, PathTroubled, what="connection_age")[0] == times(trace, ConnectionLost)[0] == 4.0


def test_a_flapping_proxy_leads_to_polling() -> None:
    path = Path(latency_s=LATENCY_S, middlebox=Middlebox(websocket_age_max_s=0.3))
    result = run(alone(path=path, horizon_s=60.0))
    # From the upgrade on, which the middlebox sees after 3 latencies.
    assert times(result.trace, ConnectionLost)[0] == pytest.approx(3 * LATENCY_S + 0.3)
    assert result.counts.fallbacks == 1
    assert result.is_ok


# One direction.


def during(record: Delivered) -> bool:
    return 3.5 * NS_PER_S < record.at < 7 * NS_PER_S


def test_an_outage_towards_the_server_lets_events_reach_the_client() -> None:
    groups = (Group(name="c", arrive_within_s=0.0), Group(name="d", arrive_within_s=0.0))
    fault = Outage(at_s=3.0, duration_s=4.0, direction="up", clients=("c",))
    trace = run(alone(fault).replace(groups=groups, workload=BUSY)).trace
    heard = [at for at in times(trace, Delivered, client="c-0") if 3.5 < at < 7.0]
    assert heard
    said = {record.publish_id for record in trace if isinstance(record, Delivered) and during(record)}
    assert all("d-0" in str(publish_id) for publish_id in said)


def test_an_outage_towards_the_client_lets_publishes_reach_the_server() -> None:
    groups = (Group(name="c", arrive_within_s=0.0), Group(name="d", arrive_within_s=0.0))
    fault = Outage(at_s=3.0, duration_s=4.0, direction="down", clients=("c",))
    trace = run(alone(fault).replace(groups=groups, workload=BUSY)).trace
    assert not [at for at in times(trace, Delivered, client="c-0") if 3.2 < at < 7.0]
    heard = {record.publish_id for record in trace if isinstance(record, Delivered) and record.client == "d-0" and during(record)}
    assert any("c-0" in str(publish_id) for publish_id in heard)


@pytest.mark.parametrize(
    ("direction", "noticed_s"),
    [
        ("down", 20.6),  # the ping at 10.6 s has no answer
        ("up", 35.8),  # the client still hears heartbeats; the server has heard nothing for 35 s since 0.7 s
    ],
)
def test_a_connection_that_is_dead_in_one_direction_is_noticed(direction: Direction, noticed_s: float) -> None:
    result = run(alone(HalfOpen(at_s=3.0, direction=direction), horizon_s=50.0))
    assert times(result.trace, StateTurned, state=ClientState.WAITING)[0] == pytest.approx(noticed_s)
    assert len(times(result.trace, StateTurned, state=ClientState.LIVE)) == 2
    assert result.is_ok


def test_a_connection_that_dies_in_the_other_direction_too_is_dead() -> None:
    trace = run(alone(HalfOpen(at_s=3.0, direction="up"), HalfOpen(at_s=4.0, direction="down"), horizon_s=50.0)).trace
    assert times(trace, StateTurned, state=ClientState.WAITING)[0] == pytest.approx(20.6)


@pytest.mark.parametrize("direction", ["both", "up"])
def test_a_kernel_gives_up_before_the_ping_times_out_if_it_retries_less(direction: Direction) -> None:
    # The ping leaves at 10.6 s, its retransmissions 0.2 and 0.6 s later; 0.8 s after the second nobody waits any more.
    trace = run(alone(HalfOpen(at_s=3.0, direction=direction), path=RETRIES_TWICE, horizon_s=40.0)).trace
    assert times(trace, ConnectionLost, message="the connection timed out") == pytest.approx([10.6 + 1.4])


def test_a_server_s_kernel_gives_up_what_a_client_does_not_acknowledge() -> None:
    # The answer to the ping at 10.6 s is the first thing that the server sends into the silence.
    trace = run(alone(HalfOpen(at_s=3.0, direction="down"), path=RETRIES_TWICE, horizon_s=15.0, settle_s=4.0)).trace
    assert times(trace, SessionLeft) == pytest.approx([10.7 + 1.4])
    # So does the client's: its ping has arrived, but nothing tells it so.
    assert times(trace, PathTroubled, what="gave_up") == pytest.approx([10.7 + 1.4] * 2)


def test_an_end_that_gave_up_answers_what_still_comes_with_a_reset() -> None:
    # The client gives its ping up at 12.0 s; what the server sends when the line is back tells it so.
    trace = run(alone(Outage(at_s=3.0, duration_s=10.5), path=RETRIES_TWICE, horizon_s=40.0)).trace
    assert times(trace, ConnectionLost, message="the connection timed out") == pytest.approx([12.0])
    assert len(times(trace, SessionJoined)) == 2
    assert all(verdict.status != "violated" for verdict in check(trace).values())


def test_after_an_outage_a_line_that_resumes_by_retransmission_is_later() -> None:
    fault = Outage(at_s=3.0, duration_s=4.0)
    first = {}
    for resumes in ("at_once", "rto"):
        path = Path(latency_s=LATENCY_S, tcp=Tcp(resumes=resumes))
        group = Group(name="c", clients=2, path=path, arrive_within_s=0.0)
        result = run(alone(fault).replace(groups=(group,), workload=BUSY))
        assert result.is_ok
        first[resumes] = min(at for at in times(result.trace, Delivered) if at > 7.0)
    assert first["at_once"] == pytest.approx(7.0 + 2 * LATENCY_S + 0.002)  # to the server, its store, and to the client
    assert first["rto"] > first["at_once"]


def test_no_connection_is_left_behind_when_kernels_give_up() -> None:
    path = Path(latency_s=LATENCY_S, tcp=Tcp(retries=2), middlebox=Middlebox(idle_timeout_s=4.0))
    world = World(alone(HalfOpen(at_s=3.0), path=path, horizon_s=100.0, settle_s=60.0))
    world.run()
    assert all(access_link.connections <= 2 for access_link in world.access_links.values())


# Whatever is drawn.


@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_no_path_breaks_a_guarantee(data: st.DataObject) -> None:
    check_drawn(data)


@pytest.mark.slow
@pytest.mark.parallel
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_hundred_paths_break_no_guarantee(data: st.DataObject) -> None:
    check_drawn(data)


def check_drawn(data: st.DataObject) -> None:
    path = data.draw(rich_paths())
    processes = st.sampled_from(
        [
            OnOffMarkov(up_mean_s=8, down_mean_s=2),
            OnOffMarkov(up_mean_s=8, down_mean_s=4, effect="cut"),
            PeriodicAvailability(period_s=10, down_s=3, scope="shared"),
        ]
    )
    scenario = Scenario(
        name="drawn",
        horizon_s=20.0,
        groups=(Group(name="c", clients=3, path=path, availability=data.draw(st.none() | processes)),),
        availability=data.draw(st.none() | processes),
        workload=Workload(graft_per_s=0.3, prune_per_s=0.1, flag_per_s=0.1, chat_per_s=0.3, cursor_per_s=0.5),
        faults=tuple(data.draw(st.lists(faults(("c-0", "c-1")), max_size=3))),
        server=ServerPart(instances=2),
        client=ClientPart(config=ClientConfig(fallback_after_failures=2), policy=FullJitter(1.0, 2.0, 5.0)),
        seed=data.draw(st.integers(0, 1000)),
    )
    result = run(scenario)
    note(scenario.to_toml())
    assert not [text for verdict in result.verdicts.values() for text in verdict.violations]
    counts = result.counts
    assert (counts.duplicates, counts.gaps, counts.out_of_order) == (0, 0, 0)


def test_a_bound_that_a_heavy_tail_breaks_is_no_false_alarm() -> None:
    path = Path(latency_s=0.02, delay=LogNormal(median=0.5, sigma=2.0))
    result = run(alone(Outage(at_s=2, duration_s=1), path=path, horizon_s=60.0, workload=BUSY, settle_s=None))
    assert times(result.trace, PathTroubled, what="late")
    assert result.is_ok, [text for verdict in result.verdicts.values() for text in verdict.violations]
    assert times(result.trace, SessionJoined)
