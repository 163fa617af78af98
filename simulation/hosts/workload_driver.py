"""The workload driver: what simulated users do, as the scenario's `workload` says: the time and the content of each event.

The n-th event of a stream and its time are samples of (client, type, n), so they are the same whatever the network does: two
parameter sets are compared with the same workload.
"""

import json
import math
from typing import Protocol, assert_never

from reference.protocol.events import CURSOR_BYTES_MAX, CURSOR_MOVE, Data
from reference.protocol.timers import ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.hosts.client import ClientHost
from simulation.random import EntityRandom
from simulation.scenario.distributions import Distribution
from simulation.scenario.workload import OnOff, Periodic, Poisson, RecordedTimes, Timing, Workload
from simulation.trace.publishes import publish_data

GRAFT_POSITIONS = 50
PRUNE_STEPS = 200
FILL_BYTES_MAX = 16 * 1024 * 1024
"""No event is padded beyond this; the server accepts far less. A cursor is not padded beyond the cursor limit."""


class _Times(Protocol):
    """The times of the events of one stream."""

    def next_at(self, index: int, after: int) -> int | None:
        """When the event of that index occurs, in ns; `after`: the time of the one before, or of the client's start. None:
        never."""
        ...


class WorkloadDriver:
    """The workload of one client, from `start` until `until`, in ns."""

    def __init__(self, clock: Clock, client: ClientHost, workload: Workload, random_source: EntityRandom, until: int) -> None:
        self._clock = clock
        self._client = client
        self._random_source = random_source
        self._until = until
        self._published = 0
        self._times: dict[str, _Times] = {}
        self._sizes: dict[str, Distribution] = {}
        for event_type, stream in workload.streams().items():
            self._times[event_type] = _times_of(stream.timing, random_source, f"work/{event_type}", clock.now)
            size = stream.size_bytes or workload.size_bytes
            if size is not None:
                self._sizes[event_type] = size

    def start(self) -> None:
        for event_type in self._times:
            self._schedule(event_type, 0, self._clock.now)

    def _schedule(self, event_type: str, index: int, after: int) -> None:
        at = self._times[event_type].next_at(index, after)
        if at is not None and at < self._until:
            Call(self._clock, at, ARRIVAL, self._do, (event_type, index))

    def _do(self, call: Call) -> None:
        event_type, index = call.argument
        self._schedule(event_type, index + 1, self._clock.now)
        if event_type == CURSOR_MOVE:
            self._client.move_cursor(self._filled(event_type, index, self._cursor(index)))
        else:
            self._client.publish(event_type, self._filled(event_type, index, self._data(event_type, index)))

    def _data(self, event_type: str, index: int) -> Data:
        self._published += 1
        publish_id = f"{self._client.name}:{self._published}"
        choice = self._random_source.uniform(f"what/{event_type}", index)
        match event_type:
            case "GRAFT":
                return publish_data(publish_id, position=f"p{int(choice * GRAFT_POSITIONS)}")
            case "PRUNE":
                return publish_data(publish_id, step=f"s{int(choice * PRUNE_STEPS)}")
            case _:
                return publish_data(publish_id, note=f"n{int(choice * 1000)}")

    def _cursor(self, index: int) -> Data:
        x, y = (self._random_source.uniform(axis, index) for axis in ("x", "y"))
        return {"x": int(x * 1920), "y": int(y * 1080), "move": index}

    def _filled(self, event_type: str, index: int, data: Data) -> Data:
        """The same data, padded to the sampled size if that is larger."""
        size = self._sizes.get(event_type)
        if size is None:
            return data
        most = CURSOR_BYTES_MAX if event_type == CURSOR_MOVE else FILL_BYTES_MAX
        wanted = min(most, round(size.at(self._random_source.uniform(f"size/{event_type}", index))))
        empty = {**data, "fill": ""}
        lacking = wanted - len(json.dumps(empty, separators=(",", ":")))
        return {**data, "fill": "x" * lacking} if lacking >= 0 else data


class _PoissonTimes:
    def __init__(self, timing: Poisson, random_source: EntityRandom, purpose: str) -> None:
        self._per_s, self._random_source, self._purpose = timing.per_s, random_source, purpose

    def next_at(self, index: int, after: int) -> int:
        return after + ns(_exponential(self._random_source, self._purpose, index) / self._per_s)


class _OnOffTimes:
    """A Poisson process whose clock runs only in its on periods."""

    def __init__(self, timing: OnOff, random_source: EntityRandom, purpose: str, began_at: int) -> None:
        self._timing, self._random_source, self._purpose = timing, random_source, purpose
        self._turn = 0
        self._on_until = began_at + ns(timing.on.at(random_source.uniform(f"{purpose}/on", 0)))

    def next_at(self, index: int, after: int) -> int | None:
        at = after + ns(_exponential(self._random_source, self._purpose, index) / self._timing.per_s)
        for _ in range(_TURNS_MAX):
            if at < self._on_until:
                return at
            left = at - self._on_until
            self._turn += 1
            on_since = self._on_until + ns(self._timing.off.at(self._random_source.uniform(f"{self._purpose}/off", self._turn)))
            self._on_until = on_since + ns(self._timing.on.at(self._random_source.uniform(f"{self._purpose}/on", self._turn)))
            at = on_since + left
        return None


_TURNS_MAX = 1_000_000  # without an event: a stream that is practically never on


class _PeriodicTimes:
    def __init__(self, timing: Periodic, random_source: EntityRandom, purpose: str, began_at: int) -> None:
        first_s = timing.first_s if timing.first_s is not None else timing.every_s * random_source.uniform(f"{purpose}/phase", 0)
        self._first_at = began_at + ns(first_s)
        self._every_s = timing.every_s

    def next_at(self, index: int, after: int) -> int:
        return self._first_at + ns(index * self._every_s)


class _RecordedTimes:
    def __init__(self, timing: RecordedTimes, began_at: int) -> None:
        self._timing, self._began_at = timing, began_at

    def next_at(self, index: int, after: int) -> int | None:
        times_s, repeat_s = self._timing.times_s, self._timing.repeat_s
        rounds, place = divmod(index, len(times_s))
        if rounds and repeat_s is None:
            return None
        return self._began_at + ns(times_s[place] + rounds * (repeat_s or 0.0))


def _times_of(timing: Timing, random_source: EntityRandom, purpose: str, began_at: int) -> _Times:
    match timing:
        case Poisson():
            return _PoissonTimes(timing, random_source, purpose)
        case OnOff():
            return _OnOffTimes(timing, random_source, purpose, began_at)
        case Periodic():
            return _PeriodicTimes(timing, random_source, purpose, began_at)
        case RecordedTimes():
            return _RecordedTimes(timing, began_at)
        case _:
            assert_never(timing)


def _exponential(random_source: EntityRandom, purpose: str, index: int) -> float:
    return -math.log1p(-random_source.uniform(purpose, index))
