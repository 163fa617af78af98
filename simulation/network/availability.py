"""Availability: processes of uptimes and downtimes, which become the faults of access links.

    outages(process, ...)               the downtimes of one process without end, as (from, until) in ns
    comings_and_goings(scenario, ...)   every process of a scenario, each as the sequence of its faults
    start_availability(...)             runs them in a simulated world; the emulator does the same in `proxy`

A downtime is an Outage, or for `effect = "cut"` a LoadBalancerCut of all connections. So it is recorded and checked like any
fault, and overlapping downtimes compose. Downtimes end with the horizon at the latest, so that everyone can reconnect. Only the
next event of each process is scheduled, however far the horizon is. Durations are sampled by index, each a whole number of ns and
at least 1 ms.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, assert_never

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.clock import FAULT, Call, Clock
from simulation.random import EntityRandom, RandomStreams
from simulation.scenario.distributions import Distribution, Exponential
from simulation.scenario.faults import LinkFault, LoadBalancerCut, Outage
from simulation.scenario.paths import AlternatingRenewal, Availability, OnOffMarkov, PeriodicAvailability, RecordedAvailability

if TYPE_CHECKING:  # scenario uses these types; this module only reads scenarios
    from simulation.scenario.scenario import Scenario

DURATION_MIN = NS_PER_MS


def outages(process: Availability, random_source: EntityRandom) -> Iterator[tuple[int, int]]:
    """The downtimes of a process, in order, without overlap."""
    match process:
        case AlternatingRenewal(up=up, down=down):
            yield from _renewals(up, down, random_source, is_up=True)
        case OnOffMarkov(up_mean_s=up_s, down_mean_s=down_s):
            is_up = random_source.uniform("availability at first", 0) < up_s / (up_s + down_s)
            yield from _renewals(Exponential(scale=up_s), Exponential(scale=down_s), random_source, is_up=is_up)
        case PeriodicAvailability(period_s=period_s, down_s=down_s, first_down_s=first_s, random_phase=random_phase):
            begins, period = ns(first_s), ns(period_s)
            if random_phase:
                begins += int(period * random_source.uniform("phase", 0))
            while True:
                yield begins, begins + ns(down_s)
                begins += period
        case RecordedAvailability(outages=recorded):
            yield from ((ns(begins_s), ns(ends_s)) for begins_s, ends_s in recorded)
        case _:
            assert_never(process)


def _renewals(up: Distribution, down: Distribution, random_source: EntityRandom, *, is_up: bool) -> Iterator[tuple[int, int]]:
    at = index = 0
    while True:
        if is_up:
            at += max(DURATION_MIN, ns(up.at(random_source.uniform("up", index))))
        begins = at
        at += max(DURATION_MIN, ns(down.at(random_source.uniform("down", index))))
        yield begins, at
        index, is_up = index + 1, True


def faults_of(process: Availability, random_source: EntityRandom, clients: tuple[str, ...], until: int) -> Iterator[LinkFault]:
    """The faults of a process on the links of `clients` (empty: all clients) before `until`, in ns."""
    for begins, ends in outages(process, random_source):
        if begins >= until:
            return
        yield fault_of(process, begins, min(ends, until), clients)


def fault_of(process: Availability, begins: int, ends: int, clients: tuple[str, ...]) -> LinkFault:
    """One downtime of a process, from and until in ns."""
    at_s, duration_s = begins / NS_PER_S, (ends - begins) / NS_PER_S
    match process.effect:
        case "outage":
            return Outage(at_s=at_s, duration_s=duration_s, clients=clients)
        case "cut":
            return LoadBalancerCut(at_s=at_s, duration_s=duration_s, clients=clients)
        case _:
            assert_never(process.effect)


PlacedProcess = tuple[Availability, str, tuple[str, ...]]
"""The process, its name for sampling, and the clients that it affects together; empty: everyone."""


def processes_of(scenario: "Scenario") -> Iterator[PlacedProcess]:
    """Every process of a scenario: of clients, of groups, of regions and of everyone."""
    members = {group.name: group.client_names for group in scenario.groups}
    for group in scenario.groups:
        if group.availability is not None:
            yield from _of(group.availability, group.name, group.client_names, is_everyone=len(members) == 1)
    for region in scenario.regions:
        clients = tuple(client for name in region.groups for client in members[name])
        yield from _of(
            region.availability, f"region {region.name}", clients, is_everyone=len(clients) == len(scenario.client_names)
        )
    if scenario.availability is not None:
        yield from _of(scenario.availability, "everyone", scenario.client_names, is_everyone=True)


def _of(process: Availability, place: str, clients: tuple[str, ...], *, is_everyone: bool) -> Iterator[PlacedProcess]:
    if process.scope == "shared":
        yield process, f"availability of {place}", () if is_everyone else clients
        return
    for client in clients:
        yield process, f"{client}/availability of {place}", (client,)


def counts_from_reconnect(process: Availability) -> bool:
    """Whether a process waits for a connection before each uptime."""
    return isinstance(process, AlternatingRenewal) and process.up_from == "reconnect"


def comings_and_goings(scenario: "Scenario", random_source: RandomStreams) -> Iterator[Iterator[LinkFault]]:
    """One iterator for each process. Raises ConfigError for a process that depends on connections."""
    for process, place, clients in processes_of(scenario):
        if counts_from_reconnect(process):
            raise ConfigError('up_from = "reconnect" happens in the simulator only; simulate it, or remove it')
        yield faults_of(process, random_source.of(place), clients, ns(scenario.horizon_s))


class CarriedClient(Protocol):
    """A client, for a process that counts from its connections."""

    is_carried: bool
    on_carried: Callable[[], None] | None
    """Called when the client gets a transport again."""


def start_availability(
    clock: Clock,
    scenario: "Scenario",
    random_source: RandomStreams,
    begin: Callable[[Call], None],
    clients: Mapping[str, CarriedClient],
) -> None:
    """Run every process. `begin` is called when a link goes down, with the fault as its argument, and schedules its end."""
    until = ns(scenario.horizon_s)
    for process, place, hit in processes_of(scenario):
        own = random_source.of(place)
        if isinstance(process, AlternatingRenewal) and counts_from_reconnect(process):
            _ComingAfterReconnect(clock, process, own, until, begin, hit[0], clients[hit[0]])
        else:
            _Coming(clock, faults_of(process, own, hit, until), begin).go_on()


class _Coming:
    __slots__ = ("_begin", "_clock", "_faults")

    def __init__(self, clock: Clock, faults: Iterator[LinkFault], begin: Callable[[Call], None]) -> None:
        self._clock = clock
        self._faults = faults
        self._begin = begin

    def go_on(self) -> None:
        fault = next(self._faults, None)
        if fault is not None:
            Call(self._clock, ns(fault.at_s), FAULT, self._happen, fault)

    def _happen(self, call: Call) -> None:
        self._begin(call)
        self.go_on()


class _ComingAfterReconnect:
    """An uptime begins when the client gets a transport, or at the end of a downtime that its connection has survived."""

    def __init__(
        self,
        clock: Clock,
        process: AlternatingRenewal,
        random_source: EntityRandom,
        until: int,
        begin: Callable[[Call], None],
        name: str,
        client: CarriedClient,
    ) -> None:
        self._clock = clock
        self._process = process
        self._random_source = random_source
        self._until = until
        self._begin = begin
        self._name = name
        self._client = client
        self._index = 0
        self._waits = True
        before = client.on_carried

        def carried() -> None:
            if before is not None:
                before()
            self._carried()

        client.on_carried = carried

    def _carried(self) -> None:
        if not self._waits:
            return
        self._waits = False
        up = max(DURATION_MIN, ns(self._process.up.at(self._random_source.uniform("up", self._index))))
        at = self._clock.now + up
        if at < self._until:
            down = max(DURATION_MIN, ns(self._process.down.at(self._random_source.uniform("down", self._index))))
            self._index += 1
            fault = fault_of(self._process, at, min(at + down, self._until), (self._name,))
            Call(self._clock, at, FAULT, self._happen, fault)

    def _happen(self, call: Call) -> None:
        self._begin(call)
        Call(self._clock, ns(call.argument.end_s), FAULT, self._over)

    def _over(self, _: Call) -> None:
        self._waits = True
        if self._client.is_carried:
            self._carried()
