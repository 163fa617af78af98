"""Heartbeat policies: when a client pings, and how long a connection may be silent before it counts as dead.

A policy is a formula over what the client last received and sent, in seconds. Two rules are fixed: the first ping is sent with
the welcome, because a connection is useful only after an answered ping; and any byte from the server is a sign of life (only
`FreshnessPoints` counts nothing but answers).

    EveryInterval     a ping at every interval; dead after a time without any byte
    AfterSilence      a ping only when nothing else is received
    NoPings           the server's heartbeats are trusted
    MissesInARow      dead after k pings in a row without any byte after them
    FreshnessPoints   NFD-S: each ping must be answered by its own time limit
    PhiAccrual        dead when the silence is improbable, as Akka judges it;  PhiExponential: as Cassandra does

A policy has no memory: what was observed on the connection is in `Signs`.

The server has a limit of its own (`ServerConfig.silence_max_s`), which it sends to each client: it drops a client that is silent
for so long. A policy promises with `quiet_max_s` how long it may be silent; if the server allows less, the client sends
additional pings (`client/keepalive`).
"""

import math
from functools import lru_cache
from typing import Protocol

import msgspec

from reference.protocol.errors import ConfigError


class Signs(msgspec.Struct, frozen=True):
    """What a policy may know of a welcomed connection, in seconds.

    pinged_s: since the last ping. heard_s: since the last byte from the server. unanswered_s: since the oldest ping after which
    no byte has arrived; None if bytes arrived after each. unproven_s: since the oldest ping that is unanswered, as are all later
    ones. intervals_s: the last intervals between two answers, oldest first; as many as the policy's attribute `intervals_max`
    says, none if it has no such attribute.
    """

    pinged_s: float
    heard_s: float
    unanswered_s: float | None
    unproven_s: float | None = None
    intervals_s: tuple[float, ...] = ()


class Due(msgspec.Struct, frozen=True):
    """Seconds until the next ping is due and until the connection is dead, if nothing is received before. 0 or less: now; None:
    never."""

    ping_s: float | None
    dead_s: float | None


class HeartbeatPolicy(Protocol):
    """When to ping, and when to give up. Received bytes may only postpone both: the policy is asked after each ping, and again at
    the times that it named."""

    @property
    def notice_max_s(self) -> float:
        """How long a dead connection may go unnoticed, in seconds."""
        ...

    @property
    def quiet_max_s(self) -> float | None:
        """How long the client may send nothing, in seconds; None: for ever."""
        ...

    def due(self, signs: Signs) -> Due: ...


class EveryInterval(msgspec.Struct, frozen=True, tag_field="kind", tag="every_interval", forbid_unknown_fields=True):
    """A ping at every interval, whatever else is sent; dead when no byte arrives for `timeout_s` after one."""

    interval_s: float = 10.0
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        _check(self, interval_s=self.interval_s, timeout_s=self.timeout_s)

    @property
    def notice_max_s(self) -> float:
        return self.interval_s + self.timeout_s

    @property
    def quiet_max_s(self) -> float:
        return self.interval_s

    def due(self, signs: Signs) -> Due:
        return Due(self.interval_s - signs.pinged_s, _until_dead(self.timeout_s, signs))


class AfterSilence(msgspec.Struct, frozen=True, tag_field="kind", tag="after_silence", forbid_unknown_fields=True):
    """A ping only when nothing was received for `silence_s`, or no ping was sent for `pause_max_s`; dead as with `EveryInterval`.

    A busy connection needs no pings to prove itself; `pause_max_s` exists because the server must hear from the client too.
    """

    silence_s: float = 10.0
    timeout_s: float = 10.0
    pause_max_s: float = 30.0

    def __post_init__(self) -> None:
        _check(self, silence_s=self.silence_s, timeout_s=self.timeout_s, pause_max_s=self.pause_max_s)
        if self.pause_max_s < self.silence_s:
            raise ConfigError(f"{self}: needs pause_max_s >= silence_s")

    @property
    def notice_max_s(self) -> float:
        return self.silence_s + self.timeout_s

    @property
    def quiet_max_s(self) -> float:
        return self.pause_max_s

    def due(self, signs: Signs) -> Due:
        silent_s = min(signs.heard_s, signs.pinged_s)  # an unanswered ping is not repeated at once
        return Due(min(self.silence_s - silent_s, self.pause_max_s - signs.pinged_s), _until_dead(self.timeout_s, signs))


class NoPings(msgspec.Struct, frozen=True, tag_field="kind", tag="no_pings", forbid_unknown_fields=True):
    """No ping but the first: the server's heartbeats show that it is alive. The connection is dead when nothing came for
    `silence_max_s`.

    That has to exceed the server's `heartbeat_interval_s` (which welcome reports), best by a factor of two. A server that reports
    its own `silence_max_s` is pinged all the same, twice within it.
    """

    silence_max_s: float = 35.0

    def __post_init__(self) -> None:
        _check(self, silence_max_s=self.silence_max_s)

    @property
    def notice_max_s(self) -> float:
        return self.silence_max_s

    @property
    def quiet_max_s(self) -> None:
        return None

    def due(self, signs: Signs) -> Due:
        return Due(None, self.silence_max_s - signs.heard_s)


class MissesInARow(msgspec.Struct, frozen=True, tag_field="kind", tag="misses_in_a_row", forbid_unknown_fields=True):
    """k misses in a row: a ping at every interval; while nothing arrives, another one each `retry_s`; dead when `misses` of them
    have passed in a row. TCP keepalive and OpenSSH work like this (RFC 9293, section 3.8.4; `ServerAliveCountMax`)."""

    interval_s: float = 10.0
    misses: int = 3
    retry_s: float = 5.0

    def __post_init__(self) -> None:
        _check(self, interval_s=self.interval_s, retry_s=self.retry_s)
        if not 1 <= self.misses <= 1000:
            raise ConfigError(f"{self}: needs 1 <= misses <= 1000")
        if self.retry_s > self.interval_s:
            raise ConfigError(f"{self}: needs retry_s <= interval_s")

    @property
    def notice_max_s(self) -> float:
        return self.interval_s + self.misses * self.retry_s

    @property
    def quiet_max_s(self) -> float:
        return self.interval_s

    def due(self, signs: Signs) -> Due:
        if signs.unanswered_s is None:
            return Due(self.interval_s - signs.pinged_s, None)
        ping_s, dead_s = self.retry_s - signs.pinged_s, self.misses * self.retry_s - signs.unanswered_s
        return Due(ping_s if ping_s < dead_s else None, dead_s)  # no ping that could not be answered in time


ANSWERS_AWAITED_MAX = 8
"""Unanswered pings that a client remembers; an answer to an older one is ignored."""


class FreshnessPoints(msgspec.Struct, frozen=True, tag_field="kind", tag="freshness_points", forbid_unknown_fields=True):
    """NFD-S of Chen, Toueg and Aguilera ("On the quality of service of failure detectors", IEEE Transactions on Computers 51(5),
    2002): the i-th ping leaves at s_i, `interval_s` (eta) after the one before; dead at the freshness point s_i + `shift_s`
    (delta) unless its answer, or that of a later ping, has come.

    Other bytes do not count, so an answer that waits behind a large frame is late. The paper compares clocks of two machines;
    here both times come from the client's clock. A dead connection is detected within eta + delta.
    """

    interval_s: float = 10.0
    shift_s: float = 10.0

    def __post_init__(self) -> None:
        _check(self, interval_s=self.interval_s, shift_s=self.shift_s)
        if self.shift_s > ANSWERS_AWAITED_MAX * self.interval_s:
            raise ConfigError(f"{self}: needs shift_s <= {ANSWERS_AWAITED_MAX} * interval_s; no more pings are remembered")

    @property
    def notice_max_s(self) -> float:
        return self.interval_s + self.shift_s

    @property
    def quiet_max_s(self) -> float:
        return self.interval_s

    def due(self, signs: Signs) -> Due:
        dead_s = None if signs.unproven_s is None else self.shift_s - signs.unproven_s
        return Due(self.interval_s - signs.pinged_s, dead_s)


class _Phi(msgspec.Struct, frozen=True):
    """Phi accrual (Hayashibara, Defago, Yared and Katayama, "The phi accrual failure detector", SRDS 2004): phi(t) = -log10 of
    the probability that an interval between two answers is longer than the silence t; dead when phi reaches the threshold.

    A ping every `interval_s`. Any byte ends a silence. The intervals are the last `samples_max` of this connection, at first two
    estimates, interval_s -+ 25 %, as in Akka. In any case `silence_max_s` without a byte is dead: neither the paper nor Akka has
    that limit, but without it a client's recovery time would have no bound.
    """

    interval_s: float = 1.0
    threshold: float = 8.0
    samples_max: int = 1000
    silence_max_s: float = 60.0

    def __post_init__(self) -> None:
        _check(self, interval_s=self.interval_s, silence_max_s=self.silence_max_s)
        if not 0.5 <= self.threshold <= 100:
            raise ConfigError(f"{self}: needs 0.5 <= threshold <= 100")
        if not 2 <= self.samples_max <= 1000:
            raise ConfigError(f"{self}: needs 2 <= samples_max <= 1000")
        if self.silence_max_s <= self.interval_s:
            raise ConfigError(f"{self}: needs silence_max_s > interval_s")

    @property
    def notice_max_s(self) -> float:
        return self.silence_max_s

    @property
    def quiet_max_s(self) -> float:
        return self.interval_s

    @property
    def intervals_max(self) -> int:
        return self.samples_max

    def due(self, signs: Signs) -> Due:
        guesses = (0.75 * self.interval_s, 1.25 * self.interval_s)
        limit_s = self._limit_s((*guesses, *signs.intervals_s)[-self.samples_max :])
        return Due(self.interval_s - signs.pinged_s, min(limit_s, self.silence_max_s) - signs.heard_s)

    def _limit_s(self, intervals_s: tuple[float, ...]) -> float:
        raise NotImplementedError  # every kind has its own; a msgspec Struct cannot be an ABC


class PhiAccrual(_Phi, frozen=True, tag_field="kind", tag="phi_accrual", forbid_unknown_fields=True):
    """Phi for normal intervals, with Akka's parameters and defaults (its heartbeat-interval, threshold, max-sample-size,
    min-std-deviation, acceptable-heartbeat-pause): phi(t) is of mean + pause_s and the standard deviation, at least std_min_s."""

    std_min_s: float = 0.1
    pause_s: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, std_min_s=self.std_min_s)
        if not 0 <= self.pause_s <= 86_400:
            raise ConfigError(f"{self}: needs 0 <= pause_s <= 86400")

    def _limit_s(self, intervals_s: tuple[float, ...]) -> float:
        mean_s = _mean(intervals_s)
        std_s = math.sqrt(_mean(tuple((each - mean_s) * (each - mean_s) for each in intervals_s)))
        return mean_s + self.pause_s + deviations_at(self.threshold) * max(std_s, self.std_min_s)


class PhiExponential(_Phi, frozen=True, tag_field="kind", tag="phi_exponential", forbid_unknown_fields=True):
    """Phi for exponential intervals, as Cassandra computes it: phi(t) = t / (mean * ln 10), so dead after threshold * ln 10
    (18.4 at the default, phi_convict_threshold = 8) mean intervals without a byte."""

    def _limit_s(self, intervals_s: tuple[float, ...]) -> float:
        return self.threshold * _LN_10 * _mean(intervals_s)


Heartbeat = EveryInterval | AfterSilence | NoPings | MissesInARow | FreshnessPoints | PhiAccrual | PhiExponential
"""The policies that a file can name; any object with the same methods is a policy."""


_LN_10 = math.log(10.0)


@lru_cache(maxsize=64)
def deviations_at(threshold: float) -> float:
    """How many standard deviations above the mean phi reaches the threshold, in Akka's approximation of the normal law:
    P(longer) = e / (1 + e), e = exp(-y * (1.5976 + 0.070566 * y * y)). At phi = 8 it is 5.23; of the exact law, 5.61."""
    p = 10.0**-threshold
    wanted = math.log((1.0 - p) / p)
    y = 1.0
    for _ in range(40):  # Newton's method on an increasing cubic; basic operations only, so that JavaScript gets the same number
        y -= (y * (1.5976 + 0.070566 * y * y) - wanted) / (1.5976 + 0.211698 * y * y)
    return y


def _mean(values: tuple[float, ...]) -> float:
    total = 0.0
    for value in values:  # not sum(), which rounds differently from Python 3.12 on
        total += value
    return total / len(values)


def _until_dead(timeout_s: float, signs: Signs) -> float | None:
    return None if signs.unanswered_s is None else timeout_s - signs.unanswered_s


def _check(policy: object, **seconds: float) -> None:
    for name, value in seconds.items():
        if not 0 < value <= 86_400:
            raise ConfigError(f"{policy}: needs 0 < {name} <= 86400")
