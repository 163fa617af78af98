"""When a client pings, and how long a connection may be silent before it counts as dead: heartbeat policies behind one method.

A policy is a formula over what the client has last heard and said, in seconds. Two things are not left to it: the first ping
leaves with the welcome, for a connection is useful only when a ping was answered on it, and any byte from the server is life.

The server has a limit of its own (`ServerConfig.silence_max_s`): a client of which it hears nothing for so long is gone. A policy
says with `quiet_max_s` what it can promise; to a server that allows less, the client pings in between (`keepalive`).
"""

from typing import Protocol

import msgspec

from reference.protocol.errors import ConfigError


class Signs(msgspec.Struct, frozen=True):
    """What a policy may know of a connection that is welcomed, in seconds.

    pinged_s: since the last ping. heard_s: since the last byte from the server. unanswered_s: since the oldest ping after which
    no byte has come; None if something has come after each.
    """

    pinged_s: float
    heard_s: float
    unanswered_s: float | None


class Due(msgspec.Struct, frozen=True):
    """In how many seconds a ping is due, and the connection dead, if nothing is heard before. 0 or less: now; None: never."""

    ping_s: float | None
    dead_s: float | None


class HeartbeatPolicy(Protocol):
    """When to ping, and when to give up. What is heard may put either off, never bring it forward: the policy is asked after each
    ping, and again when a time that it named has come."""

    @property
    def notice_max_s(self) -> float:
        """How long a connection that has died may look alive, in seconds."""
        ...

    @property
    def quiet_max_s(self) -> float | None:
        """How long the client may say nothing, in seconds; None: for ever."""
        ...

    def due(self, signs: Signs) -> Due: ...


class EveryInterval(msgspec.Struct, frozen=True, tag_field="kind", tag="every_interval", forbid_unknown_fields=True):
    """A ping at every interval, whatever else is said; dead when no byte comes for `timeout_s` after one."""

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
    """A ping only when nothing was heard for `silence_s`, or none was sent for `pause_max_s`; dead as with `EveryInterval`.

    A busy connection proves itself and is spared the pings; the pause is for the server, which wants to hear something too.
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
        silent_s = min(signs.heard_s, signs.pinged_s)  # a ping that was not answered is not repeated at once
        return Due(min(self.silence_s - silent_s, self.pause_max_s - signs.pinged_s), _until_dead(self.timeout_s, signs))


class NoPings(msgspec.Struct, frozen=True, tag_field="kind", tag="no_pings", forbid_unknown_fields=True):
    """No ping but the first. The server's heartbeats are trusted; when nothing came for `silence_max_s`, the connection is dead.

    It has to exceed the server's `heartbeat_interval_s` (which welcome tells), best by a factor of two. A server that tells its
    own `silence_max_s` is pinged all the same, twice within it.
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


Heartbeat = EveryInterval | AfterSilence | NoPings
"""Those that can be written down; any object with their methods is a policy."""


def _until_dead(timeout_s: float, signs: Signs) -> float | None:
    return None if signs.unanswered_s is None else timeout_s - signs.unanswered_s


def _check(policy: object, **seconds: float) -> None:
    for name, value in seconds.items():
        if not 0 < value <= 86_400:
            raise ConfigError(f"{policy}: needs 0 < {name} <= 86400")
