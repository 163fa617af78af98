"""The workload of clients, as a part of a scenario: when events of each type are published, and their size.

    Poisson          at a rate, without memory (`graft_per_s` and the like are a short form)
    OnOff            bursts: at a rate while on, nothing while off
    Periodic         at fixed intervals, each client with a random phase
    RecordedTimes    at these times

`simulation.hosts.workload_driver` executes it.
"""

import itertools
from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.events import CHAT, CURSOR_MOVE, FLAG, GRAFT, PRUNE
from simulation.scenario.distributions import Distribution
from simulation.scenario.paths import RECORDED_MAX, PositiveSeconds, Seconds

Rate = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
PositiveRate = Annotated[float, msgspec.Meta(gt=0, le=10_000)]


class _Timing(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    pass


class Poisson(_Timing, frozen=True, kw_only=True, tag="poisson"):
    """Exponential times between events."""

    per_s: PositiveRate
    """Events per second, on average."""


class OnOff(_Timing, frozen=True, kw_only=True, tag="on_off"):
    """Poisson at `per_s` while on; on for a sample of `on`, then off for a sample of `off`, in seconds, beginning on."""

    per_s: PositiveRate
    on: Distribution
    off: Distribution

    def __post_init__(self) -> None:
        if self.on.mean <= 0:
            raise ConfigError("on: its mean is 0, so nothing would ever happen; give it a mean above 0")


class Periodic(_Timing, frozen=True, kw_only=True, tag="periodic"):
    """Every `every_s`; the first after `first_s`, or, if None, after a random part of `every_s`, sampled for each client."""

    every_s: PositiveSeconds
    first_s: Seconds | None = None


class RecordedTimes(_Timing, frozen=True, kw_only=True, tag="recorded"):
    """At these seconds after the client began, in order, and repeated every `repeat_s` (None: once)."""

    times_s: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1, max_length=RECORDED_MAX)]
    repeat_s: PositiveSeconds | None = None

    def __post_init__(self) -> None:
        if any(later < at for at, later in itertools.pairwise(self.times_s)):
            raise ConfigError("times_s: must not decrease; sort them")
        if self.repeat_s is not None and self.repeat_s <= self.times_s[-1]:
            raise ConfigError(f"repeat_s = {self.repeat_s:g} must be above the last of times_s; raise it")


Timing = Poisson | OnOff | Periodic | RecordedTimes


class Stream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The events of one type of one client. size_bytes: of each event's data as JSON, padded to that; None: not padded."""

    timing: Timing
    size_bytes: Distribution | None = None


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client does: for each type of event a rate (a Poisson process, in events per second), or a stream in its place.

    size_bytes: as in `Stream`, for every type whose stream does not set it.
    """

    graft_per_s: Rate = 0.1
    """Events of this type per second; likewise for the other types."""
    prune_per_s: Rate = 0.05
    flag_per_s: Rate = 0.02
    chat_per_s: Rate = 0.1
    cursor_per_s: Rate = 0.5
    graft: Stream | None = None
    """A stream in place of the rate; likewise for the other types."""
    prune: Stream | None = None
    flag: Stream | None = None
    chat: Stream | None = None
    cursor: Stream | None = None
    size_bytes: Distribution | None = None

    def streams(self) -> dict[str, Stream]:
        """The streams by event type, without types that have no events."""
        named = {
            GRAFT: (self.graft_per_s, self.graft),
            PRUNE: (self.prune_per_s, self.prune),
            FLAG: (self.flag_per_s, self.flag),
            CHAT: (self.chat_per_s, self.chat),
            CURSOR_MOVE: (self.cursor_per_s, self.cursor),
        }
        streams = {}
        for event_type, (per_s, stream) in named.items():
            if stream is None and per_s > 0:
                stream = Stream(timing=Poisson(per_s=per_s))
            if stream is not None:
                streams[event_type] = stream
        return streams


IDLE = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
"""No events."""
