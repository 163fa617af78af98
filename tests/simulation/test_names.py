"""DNS: slow and failed lookups, stale answers, and a server that fails over. Each compared with a value by hand."""

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.timers import NS_PER_S
from simulation.clock import Clock
from simulation.network.access_link import AccessLink
from simulation.network.names import Resolver, Zone
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Uniform
from simulation.scenario.faults import DnsFailure, Failover, NetworkChange, Outage, Reset
from simulation.scenario.paths import Dns, Path
from simulation.scenario.scenario import ClientPart, Group, Scenario
from simulation.scenario.still_world import PATIENT_CLIENT, still_world
from simulation.trace.trace import PathTroubled, StateTurned
from simulation.world import run
from tests.simulation.worlds import lost

LATENCY_S = 0.05
CONNECTED_S = 6 * LATENCY_S
UNCACHED = Dns(lookup=Constant(value=0.04), ttl_s=0.0)


def dialling(dns: Dns | None, *faults: object, clients: int = 1, **changes: object) -> Scenario:
    """Clients that dial again 0.1 s after a loss, and give an attempt up after 3 s."""
    config = msgspec.structs.replace(PATIENT_CLIENT, connect_timeout_s=3.0, first_spread_s=0.0)
    return still_world("named", clients, Path(latency_s=LATENCY_S, dns=dns)).replace(
        client=ClientPart(config=config, policy=Fixed(seconds=0.1)), faults=faults, horizon_s=120.0, **changes
    )


def carried_s(scenario: Scenario) -> list[float]:
    """When a client was carried for the first time, after the start and after each loss."""
    times = []
    for client in run(scenario).trace_index.clients.values():
        was = False
        for record in client.records:
            if isinstance(record, StateTurned):
                if record.is_carried and not was:
                    times.append(record.at / NS_PER_S)
                was = record.is_carried
    return times


def test_a_lookup_takes_its_time_before_the_syn_leaves() -> None:
    assert carried_s(dialling(None)) == [pytest.approx(CONNECTED_S)]
    assert carried_s(dialling(UNCACHED)) == [pytest.approx(0.04 + CONNECTED_S)]


def test_an_answer_that_is_fresh_takes_none() -> None:
    back = [carried_s(dialling(dns, Reset(at_s=1.0)))[1] for dns in (UNCACHED, Dns(ttl_s=86_400.0), None)]
    assert back[0] == pytest.approx(back[2] + 0.04)
    assert back[1] == back[2]


def test_a_query_lost_in_an_outage_is_repeated_after_five_seconds() -> None:
    scenario = dialling(UNCACHED, Outage(at_s=0.0, duration_s=2.0)).replace({"client.config.connect_timeout_s": 60.0})
    # An outage that begins with the arrival follows it; so the query of time 0 has left.
    scenario = scenario.replace({"groups.c.arrivals": {"kind": "flash_crowd", "at_s": 1.0}})
    assert carried_s(scenario) == [pytest.approx(1.0 + 5.0 + 0.04 + CONNECTED_S)]


@pytest.mark.parametrize(("how", "ended_s"), [("error", 0.04), ("timeout", 10.0)])
def test_a_name_that_is_not_resolved_ends_the_attempt(how: str, ended_s: float) -> None:
    """At once by an error; after two queries of 5 s without one."""
    scenario = dialling(UNCACHED).replace(
        {"groups.c.arrivals": {"kind": "flash_crowd", "at_s": 1.0}, "client.config.connect_timeout_s": 60},
        faults=(DnsFailure(at_s=0.0, duration_s=60.0, how=how),),  # type: ignore[arg-type]
    )
    assert lost(scenario)[0] == (pytest.approx(1.0 + ended_s), "the server's name was not resolved")
    assert 60 < carried_s(scenario)[0] < 60 + 10.1 + 1


class Asked:
    """A resolver by itself, and what it answers at a time."""

    def __init__(self, dns: Dns) -> None:
        self.clock, self.zone = Clock(), Zone()
        link: AccessLink[object] = AccessLink(self.clock, "c", Path(), RandomStreams(1))  # type: ignore[type-var]
        self.resolver = Resolver(dns, self.zone, link, RandomStreams(1).of("c"))

    def at(self, at_s: float) -> int | None:
        found: list[int | None] = []
        if round(at_s * NS_PER_S) > self.clock.now:
            self.clock.run(round(at_s * NS_PER_S))
        self.resolver.look_up(found.append)
        self.clock.run(self.clock.now + 20 * NS_PER_S)
        return found[0]


def test_stale_answers_bridge_a_failure_for_their_time() -> None:
    answers = {}
    for stale_s in (0.0, 3600.0):
        asked = Asked(Dns(ttl_s=100.0, stale_s=stale_s))
        asked.clock.run(1000 * NS_PER_S)
        asked.resolver.begin(DnsFailure(at_s=0, duration_s=1e6, how="error"), asked.clock.now)
        answers[stale_s] = [asked.at(1000.0 + later_s) is not None for later_s in (110.0, 3500.0, 3900.0)]
    assert answers == {0.0: [False, False, False], 3600.0: [True, True, False]}


def test_an_old_address_is_answered_until_the_copy_has_expired() -> None:
    asked = Asked(Dns(ttl_s=300.0))
    asked.clock.run(1000 * NS_PER_S)
    asked.zone.begin(Failover(at_s=1000.0, duration_s=0.0))
    asked.zone.publish(asked.clock.now)
    seen = {at_s: asked.at(at_s) for at_s in range(1020, 1400, 40)}
    changed_s = next(at_s for at_s, address in seen.items() if address == 1)
    assert {address for at_s, address in seen.items() if at_s < changed_s} <= {0}
    assert changed_s <= 1000 + 300 + 40
    assert all(address == 1 for at_s, address in seen.items() if at_s >= changed_s)


def test_after_a_failover_everyone_is_back_within_the_change_of_the_record_and_its_ttl() -> None:
    scenario = dialling(Dns(ttl_s=30.0), Failover(at_s=40.0, duration_s=10.0, old_address="refuses"), clients=40, settle_s=60.0)
    result = run(scenario)
    assert result.is_ok, [str(verdict) for verdict in result.verdicts.values() if verdict.violated]
    back = [at_s for at_s in carried_s(scenario) if at_s > 40]
    assert len(back) == 40
    assert 50 < min(back) < 54
    assert 74 < max(back) < 80 + 0.5
    assert 50 + 15 - 5 < sum(back) / 40 < 50 + 15 + 5
    assert scenario.end_s >= 120.0


def test_a_silent_address_costs_a_connect_timeout_and_is_said_to_be_old() -> None:
    scenario = dialling(Dns(ttl_s=30.0), Failover(at_s=40.0, duration_s=10.0))
    trace = run(scenario.replace({"client.config.ping_interval_s": 1.0, "client.config.ping_timeout_s": 1.0})).trace
    dialled = [record for record in trace if isinstance(record, PathTroubled) and record.what == "old_address"]
    assert len(dialled) > 3
    assert dialled[2].at - dialled[1].at == pytest.approx(3.1 * NS_PER_S)


def test_a_floating_address_works_at_once() -> None:
    back = carried_s(dialling(None, Failover(at_s=40.0, duration_s=10.0, old_address="refuses")))
    assert back[1] == pytest.approx(40.0 + LATENCY_S + 0.1 + CONNECTED_S)


def test_a_failure_outlasts_a_change_of_the_network() -> None:
    """And ends on a network that it did not begin on, whether that has names or not."""
    for path in (Path(latency_s=LATENCY_S, dns=UNCACHED), Path(latency_s=LATENCY_S)):
        change = NetworkChange(at_s=20.0, is_notified=True, path=path)
        scenario = dialling(UNCACHED, DnsFailure(at_s=10.0, duration_s=30.0, how="error"), change)
        back_s = carried_s(scenario)[1]
        assert (40.0 < back_s < 41.0) if path.dns else back_s == pytest.approx(20.1 + CONNECTED_S)


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="a dns_failure needs a group whose path has dns"):
        dialling(None, DnsFailure(at_s=1.0, duration_s=1.0))
    with pytest.raises(ConfigError, match="a failover hits everyone; remove its clients"):
        Failover(at_s=1.0, duration_s=1.0, clients=("c-0",))
    with pytest.raises(ConfigError, match="tries"):
        Scenario(name="x", groups=(Group(name="c"),)).replace({"groups.c.path.dns": {"tries": 0}})


def test_another_network_has_other_lookups() -> None:
    """Its resolver is another one: neither the time of its answers nor the phase of its cache is that of the first."""
    dns = Dns(lookup=Uniform(high=2.0), ttl_s=0.0)
    first_s, second_s = carried_s(
        dialling(dns, NetworkChange(at_s=20.0, is_notified=True, path=Path(latency_s=LATENCY_S, dns=dns)))
    )
    assert abs((second_s - 20.1) - first_s) > 0.001
