"""Client devices: machines that sleep, tabs in the background, networks that change. Each compared with a value by hand."""

from itertools import pairwise
from typing import Literal

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.timers import NS_PER_S
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import BackgroundTab, HalfOpen, NetworkChange, Reset, Suspend
from simulation.scenario.paths import Path
from simulation.scenario.scenario import ClientPart, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import ConnectionLost, StateTurned
from simulation.world import World, run
from tests.simulation.worlds import calm

LATENCY_S = 0.05
CONNECTED_S = 6 * LATENCY_S


def pinging(*faults: object, ping_s: float = 10.0, timeout_s: float = 10.0, clients: int = 1, **changes: object) -> Scenario:
    config = msgspec.structs.replace(PATIENT_CLIENT, ping_interval_s=ping_s, ping_timeout_s=timeout_s)
    return still_world("device", clients, Path(latency_s=LATENCY_S)).replace(
        client=ClientPart(config=config), faults=faults, **{"horizon_s": 300.0, "settle_s": 60.0, **changes}
    )


def lost_s(scenario: Scenario) -> list[float]:
    return [record.at / NS_PER_S for record in run(scenario).trace if isinstance(record, ConnectionLost)]


def back_s(scenario: Scenario) -> list[float]:
    """When it was carried again, each time."""
    clients, times = run(scenario).trace_index.clients.values(), []
    for client in clients:
        turns = [record for record in client.records if isinstance(record, StateTurned)]
        times += [turn.at / NS_PER_S for before, turn in pairwise(turns) if turn.is_carried and not before.is_carried][1:]
    return times


def pings_s(scenario: Scenario, client: str = "c-0") -> list[float]:
    """When each ping of a client left."""
    sent: list[float] = []

    def listen(name: str, at: int, way: str, _: int, frame: frames.Frame) -> None:
        if (name, way) == (client, "sent") and isinstance(frame, frames.Ping):
            sent.append(at / NS_PER_S)

    World(scenario, listen=listen).run()
    return sent


@pytest.mark.parametrize(("clock", "ping_again_s"), [("counts", 250.0), ("stops", 257.7)])
def test_a_clock_that_counts_the_sleep_pings_at_once_and_one_that_stops_when_it_was_due(
    clock: Literal["counts", "stops"], ping_again_s: float
) -> None:
    """Welcomed at 0.3 s, it pings at 0.3 + 10 n, last at 40.3; asleep from 42.6 on, the next is due 7.7 s later by its clock."""
    sent = pings_s(pinging(Suspend(at_s=42.6, duration_s=250.0 - 42.6, clock=clock)))
    assert sent[:5] == pytest.approx([0.3, 10.3, 20.3, 30.3, 40.3])
    assert sent[5] == pytest.approx(ping_again_s)


def test_a_suspended_client_neither_receives_nor_works() -> None:
    scenario = calm(2, horizon_s=60.0, faults=(Suspend(at_s=10.0, duration_s=20.0, clients=("c-0",)),))
    result = run(scenario)
    assert result.is_ok, [str(verdict) for verdict in result.verdicts.values() if verdict.violated]
    own = result.trace_index.clients["c-0"].published.values()
    assert not [publish for publish in own if 10 < publish.at / NS_PER_S < 30]
    assert [publish for publish in own if publish.at / NS_PER_S > 30]
    asleep = [record for record in result.trace_index.clients["c-0"].records if 10 * NS_PER_S < record.at < 30 * NS_PER_S]
    assert not asleep


def test_what_ends_a_connection_in_its_sleep_is_heard_after_it() -> None:
    scenario = pinging(Suspend(at_s=20.0, duration_s=50.0), Reset(at_s=30.0))
    assert lost_s(scenario) == [70.0]


def test_who_arrives_or_leaves_in_a_sleep_does_it_after() -> None:
    scenario = pinging(Suspend(at_s=0.0, duration_s=5.0)).replace({"groups.c.arrivals": {"kind": "flash_crowd", "at_s": 2.0}})
    assert run(scenario).trace_index.clients["c-0"].started_at == 5 * NS_PER_S


def test_sleeps_that_overlap_are_one() -> None:
    scenario = pinging(Suspend(at_s=20.0, duration_s=30.0, clock="stops"), Suspend(at_s=40.0, duration_s=60.0))
    # The clock stands still for 30 of 80 s: the ping due at 20.3 is due at 50.3, in the sleep, and leaves when it ends.
    assert next(at_s for at_s in pings_s(scenario) if at_s > 20) == pytest.approx(100.0)


def test_a_tab_in_the_background_pings_at_the_ticks_of_its_browser() -> None:
    """Every 10 s, as asked; once in 60 s, as it gets; and when it comes to the front, at once."""
    sent = pings_s(pinging(BackgroundTab(at_s=45.0, duration_s=200.0, timers_every_s=60.0)))
    behind = [at_s for at_s in sent if 45.0 < at_s < 245.0]
    assert len(behind) in (3, 4)
    assert [later - at_s for at_s, later in pairwise(behind)] == pytest.approx([60.0] * (len(behind) - 1))
    assert [at_s for at_s in sent if at_s >= 245.0][:2] == pytest.approx([245.0, 255.0])


def test_the_ticks_of_two_browsers_have_two_phases() -> None:
    scenario = pinging(BackgroundTab(at_s=45.0, duration_s=200.0, timers_every_s=60.0), clients=2)
    first, second = (next(at_s for at_s in pings_s(scenario, name) if at_s > 45.2) for name in ("c-0", "c-1"))
    assert abs(first - second) > 1.0


def test_messages_wake_a_tab_as_ever() -> None:
    scenario = calm(2, horizon_s=60.0, faults=(BackgroundTab(at_s=5.0, duration_s=55.0, timers_every_s=60.0, clients=("c-0",)),))
    result = run(scenario)
    assert result.is_ok
    messages = [record.at for record in result.trace_index.clients["c-0"].progress() if 5 < record.at / NS_PER_S < 60]
    assert len(messages) > 20


@pytest.mark.parametrize("gap_s", [0.0, 3.0])
def test_a_phone_gets_a_notification_and_connects_at_once(gap_s: float) -> None:
    """It is notified at 100 s and reconnects; a SYN during the gap is sent again after 1, 2, 3 s (Linux 6.5)."""
    scenario = pinging(NetworkChange(at_s=100.0, duration_s=gap_s, is_notified=True))
    scenario = scenario.replace({"client.policy": Fixed(seconds=0.0)})
    assert lost_s(scenario) == [100.0]
    assert back_s(scenario) == [pytest.approx(100.0 + gap_s + CONNECTED_S)]


def test_a_laptop_gets_no_notification_and_notices_by_its_ping() -> None:
    """As of a half-open connection: the ping of 100.3 s is not answered, and given up 10 s later."""
    change, silence = (pinging(fault) for fault in (NetworkChange(at_s=95.0), HalfOpen(at_s=95.0)))
    assert back_s(change) == back_s(silence)
    assert 110.3 < back_s(change)[0] < 115.0


def test_the_server_gets_no_notification_either() -> None:
    scenario = pinging(NetworkChange(at_s=100.0, is_notified=True)).replace({"server.config.silence_max_s": 50.0})
    result = run(scenario)
    assert len({record.connection_id for record in result.trace_index.sessions}) == 2
    assert result.is_ok


def test_the_new_network_is_another_path() -> None:
    scenario = pinging(NetworkChange(at_s=100.0, is_notified=True, path=Path(latency_s=0.2)))
    scenario = scenario.replace({"client.policy": Fixed(seconds=0.0)})
    assert back_s(scenario) == [pytest.approx(100.0 + 6 * 0.2)]
    assert scenario.round_trip_max_s == pytest.approx(0.4)


def test_what_a_client_sends_takes_its_time_on_the_new_path() -> None:
    """2000 bytes at 1000 bytes a second, after a path on which no size matters."""
    scenario = pinging(NetworkChange(at_s=100.0, is_notified=True, path=Path(up_bandwidth_bytes_per_s=1000.0)))
    scenario = scenario.replace({"workload.graft_per_s": 0.05, "workload.size_bytes": Constant(value=2000.0)})
    scenario = scenario.replace({"client.policy": Fixed(seconds=0.0)})
    client = run(scenario).trace_index.clients["c-0"]
    sent = {ticket: publish.at for ticket, publish in client.published.items()}
    took = {sent[ticket]: answers[0].at - sent[ticket] for ticket, answers in client.accepted.items()}
    before = [each / NS_PER_S for at, each in took.items() if at < 99 * NS_PER_S]
    after = [each / NS_PER_S for at, each in took.items() if at > 101 * NS_PER_S]
    assert max(before) < 0.2
    assert min(after) > 2.0


def test_a_change_of_some_counts_for_them() -> None:
    scenario = pinging(NetworkChange(at_s=100.0, clients=("c-1",), path=Path(latency_s=0.2)), clients=2)
    assert [path.latency_s for path in scenario.paths_of(scenario.groups[0])] == [LATENCY_S, 0.2]
    assert len(back_s(scenario)) == 1


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({"kind": "background_tab", "at_s": 1, "duration_s": 1, "timers_every_s": 0}, "timers_every_s"),
        ({"kind": "suspend", "at_s": 1, "duration_s": 1, "clock": "slow"}, "slow"),
        ({"kind": "network_change", "at_s": 1, "is_told": True}, r"faults\[0\]\.is_told is called is_notified now"),
        ({"kind": "network_change", "at_s": 1, "clients": ["x-9"]}, r"faults\[0\]\.clients names 'x-9'"),
    ],
)
def test_bad_input(fault: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        still_world("bad", 1).replace({"faults": [fault]})
