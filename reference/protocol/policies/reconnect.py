"""Reconnect policies: when to try again; and the counter of failed attempts.

A policy is a formula: it computes the wait from the number of failed attempts and random samples. The `Reconnector` counts,
remembers the last wait, and obeys the server's requests: `goaway` and Retry-After take precedence over every policy, because a
server that sheds load must not be contacted too early.

Random numbers are sampled by purpose and index (7.24), never from a shared stream: the wait before the n-th attempt of one client
is the same whatever else happens in the world, which makes two policies comparable.
"""

from typing import Protocol

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_MS, ns


class RandomSource(Protocol):
    """A random source. The same purpose and index always give the same number."""

    def uniform(self, purpose: str, index: int) -> float:
        """A number in [0, 1)."""
        ...


class Attempt(msgspec.Struct, frozen=True):
    """What a policy may know about the attempt that it schedules.

    failures: attempts failed since the last useful connection; 0 for the first wait after a live session was lost. previous_s:
    the wait before this one, in seconds (0.0 if none). first_spread_s: the spread that the server asks its clients for. index:
    how many waits this client has sampled so far.
    """

    failures: int
    previous_s: float
    first_spread_s: float
    index: int
    random_source: RandomSource
    purpose: str = "backoff"

    def uniform(self, low_s: float, high_s: float, aspect: str = "") -> float:
        """A sample of U(low_s, high_s), in seconds. A policy that needs two samples for one wait gives each an `aspect`."""
        return low_s + (high_s - low_s) * self.random_source.uniform(self.purpose + aspect, self.index)


class ReconnectPolicy(Protocol):
    """How long to wait before an attempt."""

    def wait_s(self, attempt: Attempt) -> float | None:
        """Seconds to wait, or None to give up for good."""
        ...


class FullJitter(msgspec.Struct, frozen=True, tag_field="kind", tag="full_jitter", forbid_unknown_fields=True):
    """The default (7.22): floor + U(0, min(cap, base * factor**k)) after failed attempt k = 0, 1, ...; U(0, first spread) after
    the loss of a live session.

    The spread keeps a fleet from reconnecting within one second, the floor keeps one client from retrying in a tight loop.
    """

    base_s: float = 1.0
    factor: float = 2.0
    cap_s: float = 30.0
    floor_s: float = 0.25

    def __post_init__(self) -> None:
        if not (self.base_s > 0 and self.cap_s >= self.base_s and self.factor >= 1 and self.floor_s >= 0):
            raise ConfigError(f"{self}: needs base_s > 0, cap_s >= base_s, factor >= 1 and floor_s >= 0")

    def wait_s(self, attempt: Attempt) -> float:
        if attempt.failures == 0:
            return attempt.uniform(0.0, attempt.first_spread_s)
        return self.floor_s + attempt.uniform(0.0, capped(self.base_s, self.factor, attempt.failures - 1, self.cap_s))

    def range_s(self, failures: int) -> tuple[float, float]:
        """Bounds in seconds of the wait after this many failures; the server's first spread is not counted."""
        if failures == 0:
            return 0.0, 0.0
        return self.floor_s, self.floor_s + capped(self.base_s, self.factor, failures - 1, self.cap_s)


def capped(base_s: float, factor: float, exponent: int, cap_s: float) -> float:
    """min(cap, base * factor**exponent), for any exponent."""
    try:
        return min(cap_s, base_s * factor**exponent)
    except OverflowError:
        return cap_s


class AskedWait:
    """The time before which the server asked this client to stay away, in ns; one value for all its transports."""

    __slots__ = ("lasts_until", "not_before")

    def __init__(self) -> None:
        self.not_before = 0
        self.lasts_until = 0
        """The time of the attempt after that wait, including its spread or the policy's own wait (7.23)."""


class Reconnector:
    """Counts failures and times attempts for one client on one transport."""

    __slots__ = (
        "_asked",
        "_index",
        "_policy",
        "_previous_s",
        "_purpose",
        "_random_source",
        "_spread_asked_s",
        "failures",
        "first_spread_s",
    )

    def __init__(
        self,
        policy: ReconnectPolicy,
        random_source: RandomSource,
        first_spread_s: float,
        asked: AskedWait,
        purpose: str = "backoff",
    ) -> None:
        self.first_spread_s = first_spread_s
        self.failures = 0
        self._asked = asked
        self._policy = policy
        self._random_source = random_source
        self._purpose = purpose
        self._previous_s = 0.0
        self._index = 0
        self._spread_asked_s: float | None = None

    def failed(self) -> None:
        """An attempt failed, or a connection was lost before it was steady."""
        self.failures += 1

    def steady(self) -> None:
        """A connection has been useful long enough to forget earlier failures."""
        self.failures = 0
        self._previous_s = 0.0

    @property
    def not_before(self) -> int:
        """The time that the server asked for, in ns; no attempt may be made earlier."""
        return self._asked.not_before

    def asked_to_wait(self, now: int, retry_after_ms: int, spread_ms: int | None) -> None:
        """The server asked for no attempt before retry_after, and a spread after it if it gave one. Of several requests the
        latest time counts."""
        self._asked.not_before = max(self.not_before, now + retry_after_ms * NS_PER_MS)
        if spread_ms is not None:
            self._spread_asked_s = spread_ms / 1000

    def earliest(self, now: int) -> int:
        """The earliest time for any attempt, in ns: now, or after the wait and the spread that the server asked for."""
        at = max(now, self.not_before)
        if self._spread_asked_s is not None:
            at += ns(self._attempt().uniform(0.0, self._spread_asked_s))
            self._spread_asked_s = None
            self._asked.lasts_until = at
        return at

    def next_attempt_at(self, now: int) -> int | None:
        """When to try next (7.22, 7.23), in ns, or None if the policy has given up. Takes one sample.

        A spread from the server replaces the policy for this attempt; a wait without a spread is added before the policy's own
        wait, so that clients refused together do not reconnect together.
        """
        if self._spread_asked_s is not None:
            return self.earliest(now)
        wait = self._policy.wait_s(self._attempt())
        if wait is None:
            return None
        self._previous_s = wait
        at = max(now, self.not_before) + ns(wait)
        if now < self.not_before:
            self._asked.lasts_until = at
        return at

    def hurry(self, now: int, sample: float) -> int | None:
        """When to try if this machine's network is back now (7.44); None during a wait that the server asked for."""
        if now < max(self.not_before, self._asked.lasts_until):
            return None
        return now + ns(self.first_spread_s * sample)

    def _attempt(self) -> Attempt:
        index, self._index = self._index, self._index + 1
        return Attempt(self.failures, self._previous_s, self.first_spread_s, index, self._random_source, self._purpose)
