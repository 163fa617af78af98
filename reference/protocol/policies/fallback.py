"""When HTTP polling takes over from a WebSocket that does not come: fallback policies behind one method.

A policy is a formula: from failures and time it computes how long to wait, as a reconnect policy does. It is asked when the
session begins, whenever a connection has been lost, and when the time that it named has come.

What counts as trouble does not end when a socket opens, but when a connection has been useful for a while (steady): a proxy that
kills each WebSocket after a second is as bad as one that refuses them.
"""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from reference.protocol.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Disconnection:
    """What a policy may know.

    failures: attempts failed in a row, forgotten when a connection is steady. lasts_s: for how many seconds nothing has carried
    the session steadily, minus the time for which the server asked to be left alone.
    """

    failures: int
    lasts_s: float


class FallbackPolicy(Protocol):
    """When polling takes over. More trouble never makes it later."""

    def wait_s(self, trouble: Disconnection) -> float | None:
        """Seconds until polling takes over if nothing gets better before: 0 or less is now; None: not before another failure."""
        ...


class AfterFailures(msgspec.Struct, frozen=True, tag_field="kind", tag="after_failures", forbid_unknown_fields=True):
    """After so many failed attempts in a row, however long they take."""

    failures: int = 5

    def __post_init__(self) -> None:
        _check(self.failures >= 1, self, "needs failures >= 1")

    def wait_s(self, trouble: Disconnection) -> float | None:
        return 0.0 if trouble.failures >= self.failures else None


class AfterSeconds(msgspec.Struct, frozen=True, tag_field="kind", tag="after_seconds", forbid_unknown_fields=True):
    """After so many seconds, however many attempts were made. An attempt that is under way is given up for it."""

    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(0 < self.seconds <= 86_400, self, "needs 0 < seconds <= 86400")

    def wait_s(self, trouble: Disconnection) -> float:
        return max(0.0, self.seconds - trouble.lasts_s)


class AfterEither(msgspec.Struct, frozen=True, tag_field="kind", tag="after_either", forbid_unknown_fields=True):
    """After so many failed attempts in a row or so many seconds, whichever comes first."""

    failures: int = 5
    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(self.failures >= 1 and 0 < self.seconds <= 86_400, self, "needs failures >= 1 and 0 < seconds <= 86400")

    def wait_s(self, trouble: Disconnection) -> float:
        return 0.0 if trouble.failures >= self.failures else max(0.0, self.seconds - trouble.lasts_s)


class NeverFallBack(msgspec.Struct, frozen=True, tag_field="kind", tag="never_fall_back", forbid_unknown_fields=True):
    """WebSocket or nothing."""

    def wait_s(self, trouble: Disconnection) -> None:
        return None


Fallback = AfterFailures | AfterSeconds | AfterEither | NeverFallBack
"""Those that can be written down; any object with their one method is a policy."""


def _check(holds: bool, policy: object, needs: str) -> None:
    if not holds:
        raise ConfigError(f"{policy}: {needs}")
