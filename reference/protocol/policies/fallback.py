"""Fallback policies: when HTTP polling takes over from a WebSocket that cannot connect.

A policy is a formula: from failures and time it computes how long to wait, as a reconnect policy does. The session asks it at its
start, after every loss of a connection, and at the time that the policy named.

A disconnection ends only when a connection has been useful for a while (steady), not when a socket opens: a proxy that kills each
WebSocket after a second is as bad as one that refuses them.
"""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from reference.protocol.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Disconnection:
    """What a policy may know.

    failures: failed attempts in a row, reset when a connection is steady. lasts_s: seconds for which no steady connection has
    carried the session, minus the time for which the server asked the client to stay away.
    """

    failures: int
    lasts_s: float


class FallbackPolicy(Protocol):
    """When polling takes over. More failures or a longer disconnection must never make it later."""

    def wait_s(self, trouble: Disconnection) -> float | None:
        """Seconds until polling takes over if nothing changes: 0 or less: now; None: not before another failure."""
        ...


class AfterFailures(msgspec.Struct, frozen=True, tag_field="kind", tag="after_failures", forbid_unknown_fields=True):
    """After this many failed attempts in a row, however long they take."""

    failures: int = 5

    def __post_init__(self) -> None:
        _check(self.failures >= 1, self, "needs failures >= 1")

    def wait_s(self, trouble: Disconnection) -> float | None:
        return 0.0 if trouble.failures >= self.failures else None


class AfterSeconds(msgspec.Struct, frozen=True, tag_field="kind", tag="after_seconds", forbid_unknown_fields=True):
    """After this many seconds, however many attempts were made. An attempt under way is abandoned."""

    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(0 < self.seconds <= 86_400, self, "needs 0 < seconds <= 86400")

    def wait_s(self, trouble: Disconnection) -> float:
        return max(0.0, self.seconds - trouble.lasts_s)


class AfterEither(msgspec.Struct, frozen=True, tag_field="kind", tag="after_either", forbid_unknown_fields=True):
    """After this many failed attempts in a row or this many seconds, whichever comes first."""

    failures: int = 5
    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(self.failures >= 1 and 0 < self.seconds <= 86_400, self, "needs failures >= 1 and 0 < seconds <= 86400")

    def wait_s(self, trouble: Disconnection) -> float:
        return 0.0 if trouble.failures >= self.failures else max(0.0, self.seconds - trouble.lasts_s)


class NeverFallBack(msgspec.Struct, frozen=True, tag_field="kind", tag="never_fall_back", forbid_unknown_fields=True):
    """Never: WebSocket only."""

    def wait_s(self, trouble: Disconnection) -> None:
        return None


Fallback = AfterFailures | AfterSeconds | AfterEither | NeverFallBack
"""The policies that a file can name; any object with the same method is a policy."""


def _check(holds: bool, policy: object, needs: str) -> None:
    if not holds:
        raise ConfigError(f"{policy}: {needs}")
