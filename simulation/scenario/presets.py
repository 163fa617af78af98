"""Presets: how well-known systems reconnect, fall back and detect dead connections, by name, as formulas of
`reference.protocol.policies` with parameters from the systems' sources and documentation (read in 2026).

    PRESETS["socket.io-js"].policy               # when to reconnect; .source names the source
    HEARTBEATS["akka"].policy                    # when to ping, and when a silent connection is dead
    FALLBACKS["brief"].policy                    # when polling takes over
    client_part("brief-as-documented")           # a scenario's client part: with the fallback and heartbeat of that system

In a scenario: `policy = { preset = "socket.io-js" }`, and likewise `heartbeat` and `fallback`. Your own policy is an object with
the methods of `ReconnectPolicy`, `HeartbeatPolicy` or `FallbackPolicy`, registered under a name:

    register("mine", MyPolicy(), source="our client, version 3", wait_max_s=20.0)
    register_heartbeat("mine", MyHeartbeat(), source="the same")
    register_fallback("mine", MyFallback(), source="the same")

A preset is only a formula. Other behaviour of these systems (what counts as a failure, when the count restarts, what they resume)
is not included: every client uses our protocol and resets its failures as ours does, so two presets in one scenario differ only
in the wait. `resets_on_open` is noted where it is known to matter, and `client_part` follows it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import (
    AddedJitter,
    Decorrelated,
    DoubleJitter,
    ExponentialBackoff,
    Fixed,
    LateGrowth,
    OnceDrawn,
    Policy,
    Polynomial,
    Ramp,
    ScaledJitter,
    Schedule,
    SignedJitter,
    SpreadJitter,
    after_first_spread,
)
from reference.protocol.policies.fallback import AfterFailures, Disconnection, Fallback, FallbackPolicy, NeverFallBack
from reference.protocol.policies.keepalive import (
    Due,
    EveryInterval,
    FreshnessPoints,
    Heartbeat,
    HeartbeatPolicy,
    MissesInARow,
    NoPings,
    PhiAccrual,
    PhiExponential,
    Signs,
)
from reference.protocol.policies.reconnect import Attempt, FullJitter, ReconnectPolicy
from reference.tables import guess


@dataclass(frozen=True)
class Preset:
    """One system's policy. wait_max_s: the longest wait of a policy that has no `range_s`; None for those that have one.

    fallback, heartbeat: the system's other policies, if known; None: as the scenario says.
    """

    policy: ReconnectPolicy
    source: str
    wait_max_s: float | None = None
    fallback: "Fallback | PresetFallback | None" = None
    heartbeat: "Heartbeat | PresetHeartbeat | None" = None
    resets_on_open: bool = False


PRESETS: dict[str, Preset] = {
    "brief-as-documented": Preset(
        ExponentialBackoff(base_s=1.0, factor=2.0),
        "the brief: automatic reconnection with exponential backoff, HTTP polling after 5 failed attempts",
        fallback=AfterFailures(5),
        resets_on_open=True,
    ),
    "brief-as-built": Preset(
        Fixed(seconds=5.0),
        "the design behind the brief: the STOMP client's fixed reconnectDelay of 5 s, HTTP polling after 5 failed attempts",
        fallback=AfterFailures(5),
        resets_on_open=True,
    ),
    "socket.io-js": Preset(
        SignedJitter(base_s=1.0, factor=2.0, cap_s=5.0, share=0.5), "socket.io-client, contrib/backo2: Backoff.duration"
    ),
    "python-socketio": Preset(
        AddedJitter(base_s=1.0, factor=2.0, cap_s=5.0, low_s=-0.5, high_s=0.5), "python-socketio: Client._handle_reconnect"
    ),
    "centrifuge-js": Preset(
        SpreadJitter(base_s=0.5, factor=2.0, cap_s=20.0, shift_s=0.5, most_s=20.0), "centrifuge-js, utils: backoff"
    ),
    "signalr": Preset(Schedule(waits_s=(0.0, 2.0, 10.0, 30.0)), "SignalR: DefaultReconnectPolicy"),
    "phoenix": Preset(
        Schedule(waits_s=(0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0), then_s=5.0), "phoenix.js: Socket.reconnectAfterMs"
    ),
    "anycable-web": Preset(DoubleJitter(base_s=3.0, factor=2.0, low=0.5, high=1.5), "anycable-client: backoffWithJitter"),
    "ably": Preset(Ramp(base_s=15.0, low=0.8, high=1.0), "ably-js: getRetryTime"),
    "mattermost": Preset(
        Polynomial(factor_s=3.0, power=2.0, first_n=1, cap_s=300.0, quiet_attempts=7, quiet_s=3.0, spread_s=2.0),
        "mattermost, websocket client: 3 s for 7 tries, then 3 s * n * n; n counts the loss itself",
    ),
    "nats": Preset(Fixed(seconds=2.0, spread_s=0.1, attempts_max=60), "nats.js: reconnectTimeWait, reconnectJitter"),
    "sockudo-js": Preset(Polynomial(factor_s=1.0, power=2.0, cap_s=120.0, attempts_max=6), "sockudo-js: connection manager"),
    "y-websocket": Preset(ExponentialBackoff(base_s=0.1, factor=2.0, cap_s=2.5), "y-websocket: setupWS"),
    "hocuspocus": Preset(
        SpreadJitter(base_s=1.0, factor=2.0, cap_s=30.0, low_s=1.0), "hocuspocus-provider: delay 1 s, factor 2, jitter, maxDelay"
    ),
    "liveblocks": Preset(Schedule(waits_s=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0), then_s=10.0), "liveblocks: BACKOFF_DELAYS"),
    "graphql-ws": Preset(
        AddedJitter(base_s=1.0, factor=2.0, low_s=0.3, high_s=3.0, attempts_max=5), "graphql-ws: randomisedExponentialBackoff"
    ),
    "python-websockets": Preset(
        LateGrowth(first_s=5.0, base_s=3.1, factor=1.618, cap_s=90.0), "websockets for Python, client: backoff"
    ),
    "reconnecting-websocket": Preset(
        OnceDrawn(low_s=1.0, high_s=5.0, factor=1.3, cap_s=10.0), "reconnecting-websocket: _getNextDelay"
    ),
    "grpc": Preset(ScaledJitter(base_s=1.0, factor=1.6, cap_s=120.0, low=0.8, high=1.2), "gRPC: connection backoff protocol"),
    "sip-outbound": Preset(ScaledJitter(base_s=30.0, factor=2.0, cap_s=1800.0, low=0.5, high=1.0), "RFC 5626, section 4.5"),
    "full-jitter": Preset(
        SpreadJitter(base_s=1.0, factor=2.0, cap_s=30.0), "AWS Architecture Blog, Exponential Backoff And Jitter, 2015"
    ),
    "equal-jitter": Preset(ScaledJitter(base_s=1.0, factor=2.0, cap_s=30.0, low=0.5, high=1.0), "the same article"),
    "decorrelated-jitter": Preset(Decorrelated(base_s=1.0, cap_s=30.0), "the same article"),
    "steadywire": Preset(FullJitter(), "ours: reference/protocol/policies/reconnect.py"),
}

SHIPPED = frozenset(PRESETS)
"""The shipped names, without registered ones; only used for membership tests."""


@dataclass(frozen=True)
class HeartbeatPreset:
    """How one system detects a dead connection."""

    policy: HeartbeatPolicy
    source: str


@dataclass(frozen=True)
class FallbackPreset:
    """When one system changes to polling."""

    policy: FallbackPolicy
    source: str


HEARTBEATS: dict[str, HeartbeatPreset] = {
    "steadywire": HeartbeatPreset(EveryInterval(10.0, 10.0), "ours: reference/protocol/policies/keepalive.py"),
    "python-websockets": HeartbeatPreset(
        FreshnessPoints(20.0, 20.0), "websockets for Python: ping_interval and ping_timeout of 20 s; its own pong must come"
    ),
    "phoenix": HeartbeatPreset(EveryInterval(30.0, 30.0), "phoenix.js: leaves when a heartbeat is unanswered at the next one"),
    "socket.io": HeartbeatPreset(
        NoPings(45.0), "Socket.IO: its client trusts the server's pings, which come every 25 s and may be late by 20 s"
    ),
    "openssh": HeartbeatPreset(
        MissesInARow(15.0, 3, 15.0), "ssh_config(5): ServerAliveInterval 15 and ServerAliveCountMax 3, about 45 s"
    ),
    "akka": HeartbeatPreset(
        PhiAccrual(1.0, 8.0, 1000, std_min_s=0.1, pause_s=3.0), "Akka, reference.conf: akka.cluster.failure-detector"
    ),
    "cassandra": HeartbeatPreset(
        PhiExponential(1.0, 8.0, 1000), "Cassandra, FailureDetector: phi_convict_threshold 8, 1000 samples, gossip every second"
    ),
}
"""How well-known systems detect a dead connection, by their defaults; "openssh" by its manual's example, because its default is
off."""

FALLBACKS: dict[str, FallbackPreset] = {
    "steadywire": FallbackPreset(AfterFailures(5), "ours: ClientConfig.fallback_after_failures"),
    "brief": FallbackPreset(AfterFailures(5), "the brief: HTTP polling after 5 failed attempts"),
    "never": FallbackPreset(NeverFallBack(), "clients that know WebSockets only"),
}

_SHIPPED_HEARTBEATS, _SHIPPED_FALLBACKS = frozenset(HEARTBEATS), frozenset(FALLBACKS)


class PresetPolicy(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preset", forbid_unknown_fields=True):
    """A policy by its name, as in a scenario. first_spread: the first wait after a live session was lost is sampled from the
    spread that the server asks for, whatever the policy's own jitter. Raises ConfigError for an unknown name."""

    preset: str
    """The name of a preset, such as "socket.io-js"."""
    first_spread: bool = False

    def __post_init__(self) -> None:
        find(self.preset)

    @property
    def formula(self) -> ReconnectPolicy:
        """The policy of that name."""
        policy = find(self.preset).policy
        is_ours = isinstance(policy, Policy) and hasattr(policy, "first_spread")
        return msgspec.structs.replace(policy, first_spread=True) if self.first_spread and is_ours else policy  # type: ignore[type-var]

    def wait_s(self, attempt: Attempt) -> float | None:
        policy = self.formula
        shifts = self.first_spread and not isinstance(policy, Policy)
        return after_first_spread(policy.wait_s, attempt) if shifts else policy.wait_s(attempt)

    def range_s(self, failures: int) -> tuple[float, float] | None:
        """Bounds in seconds of the wait after this many failures; None: the policy has given up."""
        policy, wait_max_s = self.formula, find(self.preset).wait_max_s
        shifts = self.first_spread and not isinstance(policy, Policy)
        if shifts and failures == 0:
            return 0.0, 0.0  # the server's spread, which is not counted
        if wait_max_s is not None:
            return 0.0, wait_max_s
        ranged: tuple[float, float] | None = policy.range_s(failures - shifts)  # type: ignore[attr-defined]  # or wait_max_s is set
        return ranged


class PresetHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preset", forbid_unknown_fields=True):
    """A heartbeat policy by its name. Raises ConfigError for an unknown name."""

    preset: str

    def __post_init__(self) -> None:
        find_heartbeat(self.preset)

    @property
    def formula(self) -> HeartbeatPolicy:
        """The policy of that name."""
        return find_heartbeat(self.preset).policy

    @property
    def notice_max_s(self) -> float:
        return self.formula.notice_max_s

    @property
    def quiet_max_s(self) -> float | None:
        return self.formula.quiet_max_s

    @property
    def intervals_max(self) -> int:
        return getattr(self.formula, "intervals_max", 0)

    def due(self, signs: Signs) -> Due:
        return self.formula.due(signs)


class PresetFallback(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preset", forbid_unknown_fields=True):
    """A fallback policy by its name. Raises ConfigError for an unknown name."""

    preset: str

    def __post_init__(self) -> None:
        find_fallback(self.preset)

    @property
    def formula(self) -> FallbackPolicy:
        """The policy of that name."""
        return find_fallback(self.preset).policy

    def wait_s(self, trouble: Disconnection) -> float | None:
        return self.formula.wait_s(trouble)


def find(name: str) -> Preset:
    """A reconnect policy by its name. Raises ConfigError."""
    return _found(name, PRESETS, "preset")


def find_heartbeat(name: str) -> HeartbeatPreset:
    """A heartbeat policy by its name. Raises ConfigError."""
    return _found(name, HEARTBEATS, "heartbeat")


def find_fallback(name: str) -> FallbackPreset:
    """A fallback policy by its name. Raises ConfigError."""
    return _found(name, FALLBACKS, "fallback")


def register(
    name: str,
    policy: ReconnectPolicy,
    *,
    source: str,
    wait_max_s: float | None = None,
    fallback: Fallback | PresetFallback | None = None,
    heartbeat: Heartbeat | PresetHeartbeat | None = None,
) -> None:
    """Add a preset. `wait_max_s`: its longest wait in seconds, unless it has a `range_s`. Raises ConfigError for a name in use,
    for an object that is not a policy, or for a policy without a known longest wait."""
    _check_new(name, policy, PRESETS, "preset", ("wait_s",))
    if wait_max_s is None and not hasattr(policy, "range_s"):
        raise ConfigError(f"{name}: give wait_max_s, or the policy a range_s; the bound on recovery (G6) needs the longest wait")
    for failures in range(3):
        wait_s = _asked(name, policy.wait_s, Attempt(failures, 0.0, 1.0, failures, _Half()))
        _check_seconds(f"{name}: wait_s after {failures} failures", wait_s, least=0.0)
    PRESETS[name] = Preset(policy, source, wait_max_s, fallback, heartbeat)


def register_heartbeat(name: str, policy: HeartbeatPolicy, *, source: str) -> None:
    """Add a heartbeat policy, for `heartbeat = { preset = NAME }`. All clients share it, so it must have no memory: what a client
    has observed is in the `Signs`. Raises ConfigError for a name in use, or an object that is not a heartbeat policy."""
    _check_new(name, policy, HEARTBEATS, "heartbeat", ("due", "notice_max_s", "quiet_max_s"))
    notice_s, quiet_s = policy.notice_max_s, policy.quiet_max_s
    if notice_s is None:
        raise ConfigError(
            f"{name}: notice_max_s is None; the bound on recovery (G6) needs how long a dead connection looks alive"
        )
    _check_seconds(f"{name}: notice_max_s", notice_s, least=1e-9)
    _check_seconds(f"{name}: quiet_max_s", quiet_s, least=1e-9)
    dead = Signs(notice_s, notice_s, notice_s, notice_s)
    for signs in (Signs(0.0, 0.0, 0.0, 0.0), Signs(notice_s / 2, notice_s / 4, None, None), dead):
        due = _asked(name, policy.due, signs)
        if not isinstance(due, Due):
            raise ConfigError(f"{name}: due({signs}) is {due!r}; return Due(ping_s, dead_s), from simulation")
        _check_seconds(f"{name}: ping_s of due({signs})", due.ping_s)
        _check_seconds(f"{name}: dead_s of due({signs})", due.dead_s)
    if due.dead_s is None or due.dead_s > 0:
        raise ConfigError(
            f"{name}: after notice_max_s = {notice_s:g} without a byte it does not give up (dead_s is {due.dead_s}); raise "
            "notice_max_s, or give up by then"
        )
    HEARTBEATS[name] = HeartbeatPreset(policy, source)


def register_fallback(name: str, policy: FallbackPolicy, *, source: str) -> None:
    """Add a fallback policy, for `fallback = { preset = NAME }`. Raises ConfigError for a name in use, or an object that is not a
    fallback policy: more failures or more time must not make it later."""
    _check_new(name, policy, FALLBACKS, "fallback", ("wait_s",))
    for lasts_s in (0.0, 1.0, 60.0, 3600.0):
        before_s = math.inf
        for failures in (0, 1, 2, 5, 20, 1000):
            trouble = Disconnection(failures, lasts_s)
            wait_s = _asked(name, policy.wait_s, trouble)
            _check_seconds(f"{name}: wait_s({trouble})", wait_s)
            until_s = math.inf if wait_s is None else max(0.0, wait_s)
            if until_s > before_s:
                raise ConfigError(f"{name}: wait_s({trouble}) is {wait_s}, later than after fewer failures; let it be no later")
            before_s = until_s
    FALLBACKS[name] = FallbackPreset(policy, source)


@dataclass(frozen=True)
class Registered:
    """The presets that a user has registered, for use in other processes."""

    policies: Mapping[str, Preset]
    heartbeats: Mapping[str, HeartbeatPreset]
    fallbacks: Mapping[str, FallbackPreset]

    def adopt(self) -> None:
        """Register these here, in addition to the known ones."""
        _add(self.policies, PRESETS)
        _add(self.heartbeats, HEARTBEATS)
        _add(self.fallbacks, FALLBACKS)

    @property
    def modules(self) -> frozenset[str]:
        """The modules that define the classes of the registered policies."""
        policies: list[object] = [preset.policy for preset in self.policies.values()]
        policies += [preset.policy for preset in self.heartbeats.values()]
        policies += [preset.policy for preset in self.fallbacks.values()]
        return frozenset(type(policy).__module__ for policy in policies)


def registered() -> Registered:
    """The presets added to the shipped ones."""
    return Registered(
        {name: preset for name, preset in PRESETS.items() if name not in SHIPPED},
        {name: preset for name, preset in HEARTBEATS.items() if name not in _SHIPPED_HEARTBEATS},
        {name: preset for name, preset in FALLBACKS.items() if name not in _SHIPPED_FALLBACKS},
    )


class _Half:
    """A random source for inspecting a policy."""

    def uniform(self, purpose: str, index: int) -> float:
        return 0.5


P = TypeVar("P")


def _add(own: Mapping[str, P], known: dict[str, P]) -> None:
    for name, preset in own.items():
        known.setdefault(name, preset)


def _found(name: str, known: Mapping[str, P], what: str) -> P:
    try:
        return known[name]
    except KeyError:
        raise ConfigError(f"no {what} is called {name!r}; {guess(name, known)}") from None


def _check_new(name: str, policy: object, known: Mapping[str, Any], what: str, parts: tuple[str, ...]) -> None:
    if name in known:
        raise ConfigError(f"a {what} is called {name!r} already; choose another name")
    if isinstance(policy, type):
        raise ConfigError(f"{name}: {policy.__name__} is a class; give an object of it, as in {policy.__name__}()")
    missing = [part for part in parts if not hasattr(policy, part)]
    if missing:
        raise ConfigError(f"{name}: {policy!r} has no {' and no '.join(missing)}; a {what} needs {', '.join(parts)}")


def _asked(name: str, ask: Any, facts: object) -> Any:
    try:
        return ask(facts)
    except Exception as error:  # any exception of the user's own class
        raise ConfigError(f"{name}: {ask.__name__}({facts}) raised {type(error).__name__}: {error}") from error


def _check_seconds(what: str, value: Any, least: float = -math.inf) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not value >= least:
        raise ConfigError(f"{what} is {value!r}; it must be a finite number of seconds{' above 0' if least > 0 else ''}, or None")
