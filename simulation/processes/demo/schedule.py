"""The plan of a demo: the clients and their paths, what each does and when, and the faults.

A pure function: equal arguments give equal plans, byte for byte, on every machine. Random values are keyed by (seed, entity,
purpose, index), never by call order, so a change in one client's workload changes neither the other clients nor the faults.

Faults of every kind occur, and none lasts beyond the end of the work. Some always occur, so that each demo exercises every
guarantee:

    WebSocket is blocked for a few clients, long enough for all their attempts to fail, so that they fall back to HTTP polling;
    the first of them has no other fault of single clients
    all clients are cut off once at the same moment, as when a load balancer restarts
    the server is killed at least once, in the middle of the work
    some clients join late, and begin with a snapshot

Times are in seconds from the beginning of the work.
"""

from collections.abc import Callable, Iterator

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.events import CURSOR_MOVE, FLAG, GRAFT, PRUNE
from simulation.processes.demo.parameters import PARAMETERS
from simulation.processes.run_plan import ClientPlan, Move, Plan
from simulation.random import EntityRandom, RandomStreams
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.paths import Path
from simulation.trace.publishes import publish_data

CLIENTS_MIN, CLIENTS_MAX = 2, 200
SECONDS_MIN, SECONDS_MAX = 5.0, 3600.0
PUBLISHES_PER_S_MAX = 1.5
"""Of one client."""
DELIVERIES_PER_S_MAX = 800.0
"""Of all clients together: they all run in one process, and their records are checked."""
CURSORS_PER_S_MAX = 1.0
FLAGS_MAX = 4000
"""In one run. Flags are never folded away, and the state of a run is bounded."""
BLOCK_S_MIN, BLOCK_S_MAX = 4.3, 8.0
"""The first is long enough for four attempts to fail, with the longest waits between them (parameters)."""

DOWN_S = (0.8, 2.0)
"""How long the server is down, from and to."""

_NAMES = (
    *("ada", "bela", "cleo", "dora", "emil", "faye", "gus", "hana", "ivan", "june"),
    *("kofi", "lena", "milo", "nora", "omar", "pia", "quinn", "rosa", "sam", "tara"),
)


def plan_demo(*, clients: int, seconds: float, seed: int, faults: bool) -> Plan:
    """Plan a demo. Raises ConfigError for numbers outside of its limits."""
    if not CLIENTS_MIN <= clients <= CLIENTS_MAX:
        raise ConfigError(f"clients = {clients}: a demo takes from {CLIENTS_MIN} to {CLIENTS_MAX}")
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ConfigError(f"seconds = {seconds:g}: a demo works for {SECONDS_MIN:g} to {SECONDS_MAX:g}")
    random_source = RandomStreams(seed)
    names = [_NAMES[index] if index < len(_NAMES) else f"user-{index + 1}" for index in range(clients)]
    plans = tuple(_plan_client(name, index, clients, seconds, random_source.of(name)) for index, name in enumerate(names))
    scheduled = tuple(sorted(_faults(names, seconds, random_source.of("faults")), key=lambda fault: fault.at_s)) if faults else ()
    return Plan(seed, seconds, plans, scheduled, PARAMETERS)


# One client.


def _plan_client(name: str, index: int, clients: int, seconds: float, random_source: EntityRandom) -> ClientPlan:
    latency_s, jitter_s = _between(random_source, "latency", 0, 0.005, 0.06), _between(random_source, "jitter", 0, 0.0, 0.01)
    bandwidth = 250_000.0 if random_source.uniform("is slow", 0) < 0.2 else None
    is_late = index > 0 and index % 6 == 5
    joins_at_s = _ms(
        _between(random_source, "join", 0, 0.4, 0.6) * seconds if is_late else _between(random_source, "join", 0, 0.0, 0.3)
    )
    moves = [
        *_publishes(name, clients, joins_at_s, seconds, random_source),
        *_cursors(clients, joins_at_s, seconds, random_source),
    ]
    return ClientPlan(
        name, Path(_ms(latency_s), _ms(jitter_s), bandwidth), joins_at_s, tuple(sorted(moves, key=lambda move: move.at_s))
    )


def _publishes(name: str, clients: int, begin_s: float, end_s: float, random_source: EntityRandom) -> Iterator[Move]:
    flags_left = FLAGS_MAX // clients
    per_s = min(PUBLISHES_PER_S_MAX, DELIVERIES_PER_S_MAX / clients**2)
    for index, at_s in enumerate(_times("publish", per_s, begin_s, end_s, random_source)):
        publish_id, kind = f"{name}-{index + 1}", random_source.uniform("kind", index)
        if kind < 0.25 and flags_left:
            flags_left -= 1
            yield Move(at_s, FLAG, publish_data(publish_id, reason=f"{name} wants a second look"))
        elif kind < 0.5:
            yield Move(at_s, PRUNE, publish_data(publish_id, step=f"step-{int(200 * random_source.uniform('step', index))}"))
        else:
            place = f"line-{int(40 * random_source.uniform('position', index))}"
            yield Move(at_s, GRAFT, publish_data(publish_id, position=place, text=f"{name} was here, for the {index + 1}. time"))


def _cursors(clients: int, begin_s: float, end_s: float, random_source: EntityRandom) -> Iterator[Move]:
    per_s = min(CURSORS_PER_S_MAX, DELIVERIES_PER_S_MAX / clients**2)
    for index, at_s in enumerate(_times("cursor", per_s, begin_s, end_s, random_source)):
        yield Move(at_s, CURSOR_MOVE, {"line": int(40 * random_source.uniform("line", index)), "column": index % 80})


def _times(purpose: str, per_s: float, begin_s: float, end_s: float, random_source: EntityRandom) -> Iterator[float]:
    """One at a random moment of each interval; their number is rounded up or down at random, so that the mean is right."""
    count = int((end_s - begin_s) * per_s + random_source.uniform(f"{purpose} count", 0))
    for index in range(count):
        at_s = _ms(begin_s + (index + random_source.uniform(purpose, index)) * (end_s - begin_s) / count)
        yield min(max(begin_s, at_s), end_s)


# The faults.


def _faults(names: list[str], seconds: float, random_source: EntityRandom) -> Iterator[Fault]:
    blocked = _some(names, max(1, len(names) // 5), random_source, "blocked", 0)
    block_s = max(BLOCK_S_MIN, min(0.4 * seconds, BLOCK_S_MAX))
    blocks = max(1, round(seconds / 40))
    for number in range(blocks):
        at_s = min((0.15 + 0.75 * number / blocks) * seconds, seconds - block_s - 0.001)
        yield BlockUpgrade(at_s=_ms(at_s), clients=blocked, duration_s=_ms(block_s))
    yield from _kills(seconds, random_source)
    yield Reset(at_s=_ms(seconds * _between(random_source, "storm", 0, 0.8, 0.9)))
    others = [name for name in names if name != blocked[0]]
    for kind, make in _KINDS.items():
        for number in range(max(1, round(seconds / 7))):
            victims = _some(others, max(1, len(names) // 7), random_source, kind, number)
            duration_s = make.duration_s(random_source.uniform(f"{kind} duration", number), seconds)
            at_s = _between(random_source, kind, number, 0.08 * seconds, 0.98 * seconds - duration_s)
            yield make.fault(_ms(at_s), _ms(duration_s), victims)


def _kills(seconds: float, random_source: EntityRandom) -> Iterator[Fault]:
    count = max(1, round(seconds / 12))
    for number in range(count):
        place = 0.3 + 0.5 * (number + 0.5 * random_source.uniform("kill", number)) / count
        yield ServerRestart(at_s=_ms(place * seconds), duration_s=_ms(_between(random_source, "down", number, *DOWN_S)))


class _Kind(msgspec.Struct, frozen=True):
    """How one kind of fault is made, and its duration: from `low_s` to `high_s`, never most of the demo."""

    fault: Callable[[float, float, tuple[str, ...]], Fault]
    low_s: float = 0.0
    high_s: float = 0.0

    def duration_s(self, draw: float, seconds: float) -> float:
        return min(self.low_s + draw * (self.high_s - self.low_s), 0.4 * seconds)


_KINDS: dict[str, _Kind] = {
    "reset": _Kind(lambda at_s, _, clients: Reset(at_s=at_s, clients=clients)),
    "half-open": _Kind(lambda at_s, _, clients: HalfOpen(at_s=at_s, clients=clients)),
    "outage": _Kind(lambda at_s, lasts_s, clients: Outage(at_s=at_s, clients=clients, duration_s=lasts_s), 1.0, 5.5),
    "stall": _Kind(lambda at_s, lasts_s, clients: Stall(at_s=at_s, clients=clients, duration_s=lasts_s), 0.5, 3.0),
    "refuse": _Kind(lambda at_s, lasts_s, clients: Refuse(at_s=at_s, clients=clients, duration_s=lasts_s), 0.5, 2.5),
}


# Random values.


def _between(random_source: EntityRandom, purpose: str, index: int, low: float, high: float) -> float:
    return low + (high - low) * random_source.uniform(purpose, index)


def _some(names: list[str], count: int, random_source: EntityRandom, purpose: str, index: int) -> tuple[str, ...]:
    """`count` of the names, in their order; each has the same probability."""
    drawn = sorted(names, key=lambda name: random_source.uniform(f"{purpose} hits {name}", index))[:count]
    return tuple(name for name in names if name in drawn)


def _ms(seconds: float) -> float:
    """Rounded to ms, so that a schedule can be read."""
    return round(seconds, 3)
