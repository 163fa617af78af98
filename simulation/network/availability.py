"""How lines come and go by themselves: processes of ups and downs, turned into the faults that they are while they last.

    outages(process, draws)             the downs of one process for ever, as (from, until) in ns, one at a time
    comings_and_goings(scenario, draws) every process of a scenario, each as the faults that it makes, in order
    start_availability(...)             lets them happen in a simulated world; the emulator does the same in `proxy`

A down is an Outage, or for `effect = "cut"` a LoadBalancerCut of all connections, so everything that happens, is recorded and is
judged about faults holds here too, and downs that overlap compose. Downs end with the horizon at the latest, so that everyone can
come back. One event lies ahead for each process, however far the horizon is. Durations are drawn by index, each a whole number of
ns and 1 ms at the least.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, assert_never

from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.random import EntityRandom, RandomStreams
from simulation.scenario.distributions import Distribution, Exponential
from simulation.scenario.faults import LineFault, LoadBalancerCut, Outage
from simulation.scenario.paths import AlternatingRenewal, Availability, OnOffMarkov, PeriodicAvailability, RecordedAvailability

if TYPE_CHECKING:  # a scenario is made of these words; here is only read
    from simulation.clock import Call, Clock
    from simulation.scenario.scenario import Scenario

DURATION_MIN = NS_PER_MS


def outages(process: Availability, random_source: EntityRandom) -> Iterator[tuple[int, int]]:
    """The downs of a process, in order and apart."""
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


def faults_of(process: Availability, random_source: EntityRandom, clients: tuple[str, ...], until: int) -> Iterator[LineFault]:
    """What a process does to the lines of `clients` (none: to everyone) before `until`, in ns, when it stops."""
    for begins, ends in outages(process, random_source):
        if begins >= until:
            return
        at_s, duration_s = begins / NS_PER_S, (min(ends, until) - begins) / NS_PER_S
        match process.effect:
            case "outage":
                yield Outage(at_s=at_s, duration_s=duration_s, clients=clients)
            case "cut":
                yield LoadBalancerCut(at_s=at_s, duration_s=duration_s, clients=clients)
            case _:
                assert_never(process.effect)


def comings_and_goings(scenario: "Scenario", random_source: RandomStreams) -> Iterator[Iterator[LineFault]]:
    """One iterator for each process: of groups, of everyone, or of each of their clients."""
    until = ns(scenario.horizon_s)
    for group in scenario.groups:
        if group.availability is not None:
            is_everyone = len(scenario.groups) == 1
            yield from _of(group.availability, random_source, group.name, group.client_names, until, is_everyone=is_everyone)
    if scenario.availability is not None:
        yield from _of(scenario.availability, random_source, "everyone", scenario.client_names, until, is_everyone=True)


def _of(
    process: Availability, random_source: RandomStreams, place: str, clients: tuple[str, ...], until: int, *, is_everyone: bool
) -> Iterator[Iterator[LineFault]]:
    if process.scope == "shared":
        yield faults_of(process, random_source.of(f"availability of {place}"), () if is_everyone else clients, until)
        return
    for client in clients:
        yield faults_of(process, random_source.of(f"{client}/availability of {place}"), (client,), until)


def start_availability(
    clock: "Clock", scenario: "Scenario", random_source: RandomStreams, begin: Callable[["Call"], None]
) -> None:
    """Let every process run. `begin` is called when a line goes down, with the fault as its argument, and sees to its end."""
    for faults in comings_and_goings(scenario, random_source):
        _Coming(clock, faults, begin).go_on()


class _Coming:
    __slots__ = ("_begin", "_clock", "_faults")

    def __init__(self, clock: "Clock", faults: Iterator[LineFault], begin: Callable[["Call"], None]) -> None:
        self._clock = clock
        self._faults = faults
        self._begin = begin

    def go_on(self) -> None:
        from simulation.clock import FAULT, Call  # here alone, for the emulator needs no SimPy

        fault = next(self._faults, None)
        if fault is not None:
            Call(self._clock, ns(fault.at_s), FAULT, self._happen, fault)

    def _happen(self, call: "Call") -> None:
        self._begin(call)
        self.go_on()
