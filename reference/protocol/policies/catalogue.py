"""Reconnect policies of other systems, as formulas beside ours (`reconnect.FullJitter`), for comparison and use.

Each is one small frozen value with two methods: `wait_s` computes a wait, `range_s` its bounds. k counts failed attempts from 0,
so k = 0 is the first wait after a connection was lost; d = base * factor**k. `attempts_max`: after this many failed attempts the
policy gives up for good; None: never. `first_spread`: the first wait after a live session was lost is U(0, the spread that the
server asks for), as with ours, and k counts from the next failure. `simulation.scenario.presets` says which system uses which.

    Fixed           seconds + U(0, spread)
    Exponential     min(cap, d)
    Schedule        a list of waits, then the same one for ever, or give up
    ScaledJitter    min(cap, d) * U(low, high), or the cap after the jitter
    AddedJitter     min(cap, d) + U(low, high), at least 0
    SpreadJitter    min(most, shift + U(low, min(cap, d)))         "full jitter" and similar
    Decorrelated    min(cap, U(base, 3 * the previous wait))
    SignedJitter    min(cap, d -+ U(0, share) * d)                 Socket.IO's, whose sign comes from the same sample
    DoubleJitter    U(d, 2 d) * U(low, high)
    Polynomial      a fixed wait, then min(cap, factor * n**power) + U(0, spread)
    LateGrowth      U(0, first), then min(cap, base * factor**(k - 1))
    OnceDrawn       min(cap, m * factor**k), m sampled once per client
    Ramp            0, then base * min((k + 2) / 3, 2) * U(low, high)

To add one: a frozen class with `wait_s(attempt) -> float | None` that samples with `attempt.uniform` only.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import Attempt, FullJitter, capped

WAIT_CEILING_S = 86_400.0
"""The longest time that a parameter may name, and the cap of a policy that names none: without one, the formula would overflow a
float. Jitter may be added to it."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=WAIT_CEILING_S)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0, le=WAIT_CEILING_S)]
Factor = Annotated[float, msgspec.Meta(ge=1, le=1000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=100)]
Attempts = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Range = tuple[float, float]
"""The shortest and the longest wait, in seconds."""


class _Policy(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    attempts_max: Attempts | None = None
    first_spread: bool = False

    def wait_s(self, attempt: Attempt) -> float | None:
        """Seconds to wait, or None to give up for good."""
        if self._has_given_up(attempt.failures):
            return None
        return after_first_spread(self._drawn, attempt) if self.first_spread else self._drawn(attempt)

    def range_s(self, failures: int) -> Range | None:
        """Bounds in seconds of the wait after this many failures; None: the policy has given up. The server's first spread is not
        counted."""
        if self._has_given_up(failures):
            return None
        return (0.0, 0.0) if self.first_spread and failures == 0 else self._range(failures - self.first_spread)

    def _has_given_up(self, failures: int) -> bool:
        is_over = self.attempts_max is not None and failures >= self.attempts_max
        return is_over or self._is_spent(failures - self.first_spread)

    def _is_spent(self, failures: int) -> bool:
        """Whether there is no wait after this many failures."""
        return False

    def _drawn(self, attempt: Attempt) -> float:
        raise NotImplementedError  # every kind has its own; a msgspec Struct cannot be an ABC

    def _range(self, failures: int) -> Range:
        raise NotImplementedError  # every kind has its own; a msgspec Struct cannot be an ABC


class Fixed(_Policy, frozen=True, kw_only=True, tag="fixed"):
    """seconds + U(0, spread)."""

    seconds: Seconds
    spread_s: Seconds = 0.0

    def _drawn(self, attempt: Attempt) -> float:
        return self.seconds + attempt.uniform(0.0, self.spread_s)

    def _range(self, failures: int) -> Range:
        return self.seconds, self.seconds + self.spread_s


class _Growing(_Policy, frozen=True, kw_only=True):
    """Grows as base * factor**k up to a cap (None: a day)."""

    base_s: PositiveSeconds = 1.0
    factor: Factor = 2.0
    cap_s: PositiveSeconds | None = None

    def _step(self, failures: int) -> float:
        return capped(self.base_s, self.factor, failures, WAIT_CEILING_S if self.cap_s is None else self.cap_s)


class ExponentialBackoff(_Growing, frozen=True, kw_only=True, tag="exponential"):
    """min(cap, d), no jitter."""

    def _drawn(self, attempt: Attempt) -> float:
        return self._step(attempt.failures)

    def _range(self, failures: int) -> Range:
        return self._step(failures), self._step(failures)


class Schedule(_Policy, frozen=True, kw_only=True, tag="schedule"):
    """These waits in turn, then `then_s` for ever; None: give up."""

    waits_s: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1, max_length=10_000)]
    then_s: Seconds | None = None

    def _is_spent(self, failures: int) -> bool:
        return self.then_s is None and failures >= len(self.waits_s)

    def _drawn(self, attempt: Attempt) -> float:
        return self._at(attempt.failures)

    def _range(self, failures: int) -> Range:
        return self._at(failures), self._at(failures)

    def _at(self, failures: int) -> float:
        if failures < len(self.waits_s):
            return self.waits_s[failures]
        assert self.then_s is not None, "it has given up before"
        return self.then_s


class ScaledJitter(_Growing, frozen=True, kw_only=True, tag="scaled_jitter"):
    """min(cap, d) * U(low, high); with `caps` "after", min(cap, d * U(low, high))."""

    low: Share
    high: Share
    caps: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        _in_order(self, self.low, self.high)

    def _drawn(self, attempt: Attempt) -> float:
        return self._scaled(attempt.failures, attempt.uniform(self.low, self.high))

    def _range(self, failures: int) -> Range:
        return self._scaled(failures, self.low), self._scaled(failures, self.high)

    def _scaled(self, failures: int, by: float) -> float:
        if self.caps == "before":
            return min(WAIT_CEILING_S, self._step(failures) * by)
        cap_s = WAIT_CEILING_S if self.cap_s is None else self.cap_s
        return min(cap_s, capped(self.base_s, self.factor, failures, WAIT_CEILING_S) * by)


class AddedJitter(_Growing, frozen=True, kw_only=True, tag="added_jitter"):
    """min(cap, d) + U(low, high), at least 0; low may be below 0."""

    low_s: Annotated[float, msgspec.Meta(ge=-WAIT_CEILING_S, le=WAIT_CEILING_S)]
    high_s: Annotated[float, msgspec.Meta(ge=-WAIT_CEILING_S, le=WAIT_CEILING_S)]

    def __post_init__(self) -> None:
        _in_order(self, self.low_s, self.high_s)

    def _drawn(self, attempt: Attempt) -> float:
        return max(0.0, self._step(attempt.failures) + attempt.uniform(self.low_s, self.high_s))

    def _range(self, failures: int) -> Range:
        step = self._step(failures)
        return max(0.0, step + self.low_s), max(0.0, step + self.high_s)


class SpreadJitter(_Growing, frozen=True, kw_only=True, tag="spread_jitter"):
    """min(most, shift + U(low, min(cap, d))); where d is below low, low itself."""

    low_s: Seconds = 0.0
    shift_s: Seconds = 0.0
    most_s: PositiveSeconds = WAIT_CEILING_S

    def _drawn(self, attempt: Attempt) -> float:
        high_s = max(self.low_s, self._step(attempt.failures))
        return min(self.most_s, self.shift_s + attempt.uniform(self.low_s, high_s))

    def _range(self, failures: int) -> Range:
        high_s = max(self.low_s, self._step(failures))
        return min(self.most_s, self.shift_s + self.low_s), min(self.most_s, self.shift_s + high_s)


class Decorrelated(_Policy, frozen=True, kw_only=True, tag="decorrelated"):
    """min(cap, U(base, 3 * s)), where s is the previous wait, at first base."""

    base_s: PositiveSeconds = 1.0
    cap_s: PositiveSeconds = 30.0

    def __post_init__(self) -> None:
        _in_order(self, self.base_s, self.cap_s)

    def _drawn(self, attempt: Attempt) -> float:
        before_s = max(self.base_s, attempt.previous_s) if attempt.failures else self.base_s
        return min(self.cap_s, attempt.uniform(self.base_s, 3 * before_s))

    def _range(self, failures: int) -> Range:
        return self.base_s, capped(3 * self.base_s, 3.0, failures, self.cap_s)


class SignedJitter(_Growing, frozen=True, kw_only=True, tag="signed_jitter"):
    """min(cap, d -+ r * share * d), r = U(0, 1), minus where the first decimal of r is even.

    Sign and size come from one sample, so the wait is not uniform: its mean is d * (1 + 0.05 * share).
    """

    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5

    def _drawn(self, attempt: Attempt) -> float:
        r = attempt.uniform(0.0, 1.0)
        sign = -1.0 if math.floor(10 * r) % 2 == 0 else 1.0
        return self._bent(attempt.failures, sign * r)

    def _range(self, failures: int) -> Range:
        return self._bent(failures, -0.9), self._bent(failures, 1.0)

    def _bent(self, failures: int, by: float) -> float:
        cap_s = WAIT_CEILING_S if self.cap_s is None else self.cap_s
        return min(cap_s, capped(self.base_s, self.factor, failures, WAIT_CEILING_S) * (1 + self.share * by))


class DoubleJitter(_Growing, frozen=True, kw_only=True, tag="double_jitter"):
    """U(d, 2 d) * U(low, high), two samples, d = min(cap, base * factor**k)."""

    low: Share = 0.5
    high: Share = 1.5

    def __post_init__(self) -> None:
        _in_order(self, self.low, self.high)

    def _drawn(self, attempt: Attempt) -> float:
        step = self._step(attempt.failures)
        return min(WAIT_CEILING_S, attempt.uniform(step, 2 * step) * attempt.uniform(self.low, self.high, "/scale"))

    def _range(self, failures: int) -> Range:
        step = self._step(failures)
        return min(WAIT_CEILING_S, step * self.low), min(WAIT_CEILING_S, 2 * step * self.high)


class Polynomial(_Policy, frozen=True, kw_only=True, tag="polynomial"):
    """`quiet_s` for the first `quiet_attempts`, then min(cap, factor * n**power), n = k + first_n; + U(0, spread) to each."""

    factor_s: PositiveSeconds = 1.0
    power: Annotated[float, msgspec.Meta(gt=0, le=10)] = 2.0
    first_n: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    cap_s: PositiveSeconds
    quiet_attempts: Attempts = 0
    quiet_s: Seconds = 0.0
    spread_s: Seconds = 0.0

    def _drawn(self, attempt: Attempt) -> float:
        return self._base(attempt.failures) + attempt.uniform(0.0, self.spread_s)

    def _range(self, failures: int) -> Range:
        return self._base(failures), self._base(failures) + self.spread_s

    def _base(self, failures: int) -> float:
        if failures < self.quiet_attempts:
            return self.quiet_s
        return min(self.cap_s, self.factor_s * math.pow(min(failures + self.first_n, 1_000_000), self.power))


class LateGrowth(_Growing, frozen=True, kw_only=True, tag="late_growth"):
    """U(0, first) after the loss, then min(cap, base * factor**(k - 1)), no jitter."""

    first_s: Seconds = 5.0

    def _drawn(self, attempt: Attempt) -> float:
        return self._step(attempt.failures - 1) if attempt.failures else attempt.uniform(0.0, self.first_s)

    def _range(self, failures: int) -> Range:
        return (self._step(failures - 1), self._step(failures - 1)) if failures else (0.0, self.first_s)


class OnceDrawn(_Policy, frozen=True, kw_only=True, tag="once_drawn"):
    """min(cap, m * factor**k), where m = U(low, high) is sampled once per client."""

    low_s: PositiveSeconds = 1.0
    high_s: PositiveSeconds = 5.0
    factor: Factor = 1.3
    cap_s: PositiveSeconds = 10.0

    def __post_init__(self) -> None:
        _in_order(self, self.low_s, self.high_s)

    def _drawn(self, attempt: Attempt) -> float:
        m = self.low_s + (self.high_s - self.low_s) * attempt.random_source.uniform(f"{attempt.purpose}/once", 0)
        return capped(m, self.factor, attempt.failures, self.cap_s)

    def _range(self, failures: int) -> Range:
        low_s, high_s = (capped(m, self.factor, failures, self.cap_s) for m in (self.low_s, self.high_s))
        return low_s, high_s


class Ramp(_Policy, frozen=True, kw_only=True, tag="ramp"):
    """0 for the first attempt, then base * min((k + 2) / 3, 2) * U(low, high)."""

    base_s: PositiveSeconds = 15.0
    low: Share = 0.8
    high: Share = 1.0

    def __post_init__(self) -> None:
        _in_order(self, self.low, self.high)

    def _drawn(self, attempt: Attempt) -> float:
        return self._step(attempt.failures) * attempt.uniform(self.low, self.high)

    def _range(self, failures: int) -> Range:
        return self._step(failures) * self.low, self._step(failures) * self.high

    def _step(self, failures: int) -> float:
        return self.base_s * min((failures + 2) / 3, 2.0) if failures else 0.0


Policy = (
    FullJitter
    | Fixed
    | ExponentialBackoff
    | Schedule
    | ScaledJitter
    | AddedJitter
    | SpreadJitter
    | Decorrelated
    | SignedJitter
    | DoubleJitter
    | Polynomial
    | LateGrowth
    | OnceDrawn
    | Ramp
)


T = TypeVar("T")


def after_first_spread(wait_s: Callable[[Attempt], T], attempt: Attempt) -> T | float:
    """The wait of a policy with `first_spread`: U(0, the server's spread) at first, then `wait_s` counted from 0."""
    if attempt.failures == 0:
        return attempt.uniform(0.0, attempt.first_spread_s)
    return wait_s(msgspec.structs.replace(attempt, failures=attempt.failures - 1))


def _in_order(policy: _Policy, low: float, high: float) -> None:
    if low > high:
        raise ConfigError(f"{policy}: the lower value is above the upper one; exchange them")
