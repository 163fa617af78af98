"""When HTTP polling takes over from a WebSocket that does not come: fallback policies behind one method.

A policy is a formula: it is told how it goes and says how long to wait, as a reconnect policy does. It is asked when the session
begins, whenever a connection has been lost, and when the time that it named has come.

What counts as trouble does not end when a socket opens, but when a connection has been useful for a while (steady): a proxy that
kills each WebSocket after a second is as bad as one that refuses them.
"""

from dataclasses import dataclass
from typing import Protocol

from reference.protocol.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a policy may know.

    failures: attempts failed in a row, forgotten when a connection is steady. lasts_s: for how many seconds nothing has carried
    the session steadily, without the time for which the server asked to be left alone.
    """

    failures: int
    lasts_s: float


class FallbackPolicy(Protocol):
    """When polling takes over. More trouble never makes it later."""

    def wait_s(self, trouble: Trouble) -> float | None:
        """Seconds until polling takes over if nothing gets better before: 0 or less is now; None: not before another failure."""
        ...


@dataclass(frozen=True, slots=True)
class AfterFailures:
    """After so many failed attempts in a row, however long they take."""

    failures: int = 5

    def __post_init__(self) -> None:
        _check(self.failures >= 1, self, "needs failures >= 1")

    def wait_s(self, trouble: Trouble) -> float | None:
        return 0.0 if trouble.failures >= self.failures else None


@dataclass(frozen=True, slots=True)
class AfterSeconds:
    """After so many seconds, however many attempts were made. An attempt that is under way is given up for it."""

    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(0 < self.seconds <= 86_400, self, "needs 0 < seconds <= 86400")

    def wait_s(self, trouble: Trouble) -> float:
        return max(0.0, self.seconds - trouble.lasts_s)


@dataclass(frozen=True, slots=True)
class AfterEither:
    """After so many failed attempts in a row or so many seconds, whichever comes first."""

    failures: int = 5
    seconds: float = 30.0

    def __post_init__(self) -> None:
        _check(self.failures >= 1 and 0 < self.seconds <= 86_400, self, "needs failures >= 1 and 0 < seconds <= 86400")

    def wait_s(self, trouble: Trouble) -> float:
        return 0.0 if trouble.failures >= self.failures else max(0.0, self.seconds - trouble.lasts_s)


@dataclass(frozen=True, slots=True)
class NeverFallBack:
    """WebSocket or nothing."""

    def wait_s(self, trouble: Trouble) -> None:
        return None


def _check(holds: bool, policy: object, needs: str) -> None:
    if not holds:
        raise ConfigError(f"{policy}: {needs}")
