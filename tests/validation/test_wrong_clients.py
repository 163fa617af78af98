"""Clients, DNS, ports and schedules that are wrong on purpose: `steadywire verify` reports it, as in `test_wrong_models`."""

from collections.abc import Iterator

import msgspec
import pytest

from simulation.hosts.capacity import Listener
from simulation.hosts.client import ClientHost
from simulation.network import availability
from simulation.network.connection import TcpConnection
from simulation.network.names import Resolver
from simulation.network.ports import Ports
from simulation.random import EntityRandom, RandomStreams
from simulation.scenario.paths import Availability
from simulation.validation.experiments.clients.devices import AfterFailover, AfterSleep, InTheBackground, Resumed, Unresolved
from simulation.validation.experiments.network.shared_fates import (
    CorrelatedOutages,
    DrawnSchedule,
    OutOfPorts,
    SynWaves,
    UpFromReconnect,
)
from tests.validation.test_wrong_models import Verify, differs, verify

__all__ = ["verify"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.parallel]


def test_a_clock_that_counts_where_it_should_stand_still(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClientHost, "_stops", property(lambda self: False))
    differs(verify, "devices: AfterSleep(clock=stops, ", AfterSleep(clock="stops"))


def test_ticks_that_all_browsers_share(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = EntityRandom.uniform

    def without_phase(self: EntityRandom, purpose: str, index: int) -> float:
        return 0.0 if purpose == "throttle" else uniform(self, purpose, index)

    monkeypatch.setattr(EntityRandom, "uniform", without_phase)
    differs(verify, "devices: InTheBackground(", InTheBackground(every_s=60.0, wait_s=5.0))


@pytest.mark.parametrize("fault", ["fresh copies", "one query"])
def test_names_that_change_at_once_or_are_asked_for_once(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "fresh copies":
        monkeypatch.setattr(Resolver, "_fetched", lambda self, now: now)
    else:
        ask = Resolver._ask
        monkeypatch.setattr(Resolver, "_ask", lambda self, resolved, tries: ask(self, resolved, 1))
    wrong = "AfterFailover(" if fault == "fresh copies" else "Unresolved("
    differs(verify, f"names: {wrong}", AfterFailover(ttl_s=6.0, publish_s=1.0), Unresolved(how="timeout", tries=2))


def test_tickets_that_are_never_awaited(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TcpConnection, "is_resumed", property(lambda self: False, lambda self, value: None))
    differs(verify, "tls: Resumed(tls=1.2, has_ticket=True", Resumed(tls="1.2", has_ticket=True))


@pytest.mark.parametrize("fault", ["no TIME_WAIT", "no backlog"])
def test_ports_and_backlogs_without_an_end(fault: str, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "no TIME_WAIT":
        give_back = Ports.give_back
        monkeypatch.setattr(Ports, "give_back", lambda self, *, is_reset: give_back(self, is_reset=True))
        wrong = "OutOfPorts("
    else:
        monkeypatch.setattr(Listener, "_note_syn", lambda self, round_trip: True)
        wrong = "SynWaves("
    differs(
        verify,
        f"ports: {wrong}",
        OutOfPorts(ports=20, offered=15.0, held_s=2.0, time_wait_s=60.0),
        SynWaves(clients=40, backlog=10, cookies=False),
    )


def test_cells_that_go_down_client_by_client(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client of a region draws for itself: the share of time is right, what they have in common is not."""
    of = availability._of

    def alone(
        process: Availability, place: str, clients: tuple[str, ...], *, is_everyone: bool
    ) -> Iterator[availability.PlacedProcess]:
        return of(msgspec.structs.replace(process, scope="client"), place, clients, is_everyone=is_everyone)

    monkeypatch.setattr(availability, "_of", alone)
    complaints = differs(verify, "regions: CorrelatedOutages(", CorrelatedOutages())
    assert not any("P(down)" in complaint for complaint in complaints)


def test_schedules_that_are_the_same_in_each_replication(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    of = RandomStreams.of
    monkeypatch.setattr(RandomStreams, "of", lambda self, entity: of(RandomStreams(1), entity))
    differs(verify, "schedules: DrawnSchedule(", DrawnSchedule(every_s=50.0))


def test_up_times_that_count_from_the_end_of_a_down(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "counts_from_reconnect", lambda process: False)
    differs(verify, "schedules: UpFromReconnect(", UpFromReconnect(up_mean_s=5.0, down_mean_s=0.5, wait_s=2.0))
