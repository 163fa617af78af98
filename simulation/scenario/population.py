"""The population: how many clients arrive when, how long they stay, and whether they return.

    arrivals   Uniformly (within a time), PoissonArrivals, FlashCrowd, RecordedArrivals
    stay       how long a client stays before it leaves with a bye, how long it is away, and how often it visits

Every visit is a separate client, because a restarted program knows nothing of its earlier run: the first visit of the third
client of group `g` is `g-2`, its second `g-2.2`. The times of every visit are samples of the client, known before the run begins
and independent of what happens in it.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.timers import ns
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Distribution
from simulation.scenario.paths import Seconds

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
CLIENTS_MAX = 1_000_000
VISITS_MAX = 1000


class _Arrivals(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    pass


class Uniformly(_Arrivals, frozen=True, kw_only=True, tag="uniformly"):
    """Each at a random time within `within_s`."""

    within_s: Seconds


class PoissonArrivals(_Arrivals, frozen=True, kw_only=True, tag="poisson"):
    """One after the other, at `per_s` from `from_s` on, until all of the group have come."""

    per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
    from_s: Seconds = 0.0


class FlashCrowd(_Arrivals, frozen=True, kw_only=True, tag="flash_crowd"):
    """An event at `at_s` makes everyone connect, each after a sample of `delay`, in seconds."""

    at_s: Seconds
    delay: Distribution = Constant(value=0.0)


class RecordedArrivals(_Arrivals, frozen=True, kw_only=True, tag="recorded"):
    """The group's clients in order, one at each of these seconds."""

    times_s: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1, max_length=CLIENTS_MAX)]


Arrivals = Uniformly | PoissonArrivals | FlashCrowd | RecordedArrivals


class Stay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a visit lasts, in seconds, and, for several visits, the time away between two. Leaving clients send bye."""

    lasts: Distribution
    away: Distribution = Constant(value=60.0)
    visits: Annotated[int, msgspec.Meta(ge=1, le=VISITS_MAX)] = 1


@dataclass(frozen=True, slots=True)
class Visit:
    """When one client begins, and when it leaves (None: not before the end), in ns."""

    client: str
    arrives_at: int
    leaves_at: int | None


def check_arrivals(name: str, clients: int, arrivals: Arrivals) -> None:
    """Raises ConfigError if they do not fit the group."""
    if isinstance(arrivals, RecordedArrivals) and len(arrivals.times_s) != clients:
        raise ConfigError(f"group {name} has {clients} clients and {len(arrivals.times_s)} times_s; give one for each client")


def visit_names(name: str, clients: int, visits: int) -> Iterator[str]:
    """The clients of a group: the first visits of all, then the second visits, and so on."""
    for visit in range(1, visits + 1):
        for number in range(clients):
            yield _named(name, number, visit)


def visits_of(name: str, clients: int, arrivals: Arrivals, stay: Stay | None, random_source: RandomStreams) -> Iterator[Visit]:
    """Every visit of a group, person by person."""
    for number, arrives_s in enumerate(_arrival_times(name, clients, arrivals, random_source)):
        if stay is None:
            yield Visit(_named(name, number, 1), ns(arrives_s), None)
            continue
        own = random_source.of(_named(name, number, 1))
        at_s = arrives_s
        for visit in range(1, stay.visits + 1):
            leaves_s = at_s + stay.lasts.at(own.uniform("stay", visit))
            yield Visit(_named(name, number, visit), ns(at_s), ns(leaves_s))
            at_s = leaves_s + stay.away.at(own.uniform("away", visit))


def _arrival_times(name: str, clients: int, arrivals: Arrivals, random_source: RandomStreams) -> Iterator[float]:
    match arrivals:
        case RecordedArrivals(times_s=times_s):
            yield from times_s
        case PoissonArrivals(per_s=per_s, from_s=from_s):
            own = random_source.of(name)
            waits = (-math.log1p(-own.uniform("arrival", number)) / per_s for number in range(clients))
            yield from itertools.islice(itertools.accumulate(waits, initial=from_s), 1, None)
        case Uniformly(within_s=within_s):
            for number in range(clients):
                yield within_s * random_source.of(_named(name, number, 1)).uniform("arrival", 0)
        case FlashCrowd(at_s=at_s, delay=delay):
            for number in range(clients):
                yield at_s + delay.at(random_source.of(_named(name, number, 1)).uniform("arrival", 0))


def _named(name: str, number: int, visit: int) -> str:
    return f"{name}-{number}" if visit == 1 else f"{name}-{number}.{visit}"
