"""How well-known systems connect again, by name: the formulas of `reference.protocol.policies.catalogue` with their numbers,
read from the systems' sources and documents in 2026.

    PRESETS["socket.io-js"].policy               # the formula; .source says where it was read
    client_part("brief-as-documented")           # a scenario's client part: with the fallback and heartbeat that belong to it

In a scenario: `policy = { preset = "socket.io-js" }`. To add one, name a policy (any object with `wait_s`) and register it:

    register("mine", MyPolicy(), source="our client, version 3", wait_max_s=20.0)

A preset is a formula for waits and nothing else. What else these systems do (what counts as a failure, when a count begins anew,
what they resume) is not theirs here: every client speaks our protocol and forgets failures as ours does, so what differs between
two presets in one scenario is the wait. `resets_on_open` is noted where it is known to matter, and `client_part` follows it.
"""

from dataclasses import dataclass

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
    Polynomial,
    Ramp,
    ScaledJitter,
    Schedule,
    SignedJitter,
    SpreadJitter,
)
from reference.protocol.policies.fallback import AfterFailures, Fallback
from reference.protocol.policies.keepalive import EveryInterval, Heartbeat, NoPings
from reference.protocol.policies.reconnect import Attempt, FullJitter, ReconnectPolicy
from reference.tables import guess

NAME_PATTERN = r"^[a-z0-9][a-z0-9.-]*$"


@dataclass(frozen=True)
class Preset:
    """One system's policy. wait_max_s: the longest wait of a policy that has no `range_s`; None for those that have one.

    fallback, heartbeat: what the system does beside, where it is known; None: as the scenario says.
    """

    policy: ReconnectPolicy
    source: str
    wait_max_s: float | None = None
    fallback: Fallback | None = None
    heartbeat: Heartbeat | None = None
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
"""The names above, without what was registered since; only ever asked, never iterated."""

HEARTBEATS: dict[str, Heartbeat] = {
    "steadywire": EveryInterval(10.0, 10.0),
    "python-websockets": EveryInterval(20.0, 20.0),
    "phoenix": EveryInterval(30.0, 30.0),
    "socket.io": NoPings(45.0),
}
"""How well-known clients find a dead connection, by their defaults: ping_interval and ping_timeout of websockets for Python;
phoenix.js leaves when a heartbeat is unanswered at the next one; Socket.IO's client sends none and trusts the server's, which
comes every 25 s and may be late by 20 s."""


class PresetPolicy(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preset", forbid_unknown_fields=True):
    """A policy by its name, as a scenario has it. Raises ConfigError for a name that nothing was registered under."""

    preset: str
    """The name of a preset, such as "socket.io-js"."""

    def __post_init__(self) -> None:
        find(self.preset)

    def wait_s(self, attempt: Attempt) -> float | None:
        return find(self.preset).policy.wait_s(attempt)

    def range_s(self, failures: int) -> tuple[float, float] | None:
        """Between which seconds the wait after so many failures lies; None: it has given up."""
        found = find(self.preset)
        if found.wait_max_s is not None:
            return 0.0, found.wait_max_s
        ranged: tuple[float, float] | None = found.policy.range_s(failures)  # type: ignore[attr-defined]  # or wait_max_s is set
        return ranged


def find(name: str) -> Preset:
    """A preset by its name. Raises ConfigError."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ConfigError(f"no preset is called {name!r}; {guess(name, PRESETS)}") from None


def register(
    name: str,
    policy: ReconnectPolicy,
    *,
    source: str,
    wait_max_s: float | None = None,
    fallback: Fallback | None = None,
    heartbeat: Heartbeat | None = None,
) -> None:
    """Add a preset. `wait_max_s`: its longest wait in seconds, unless it has a `range_s`. Raises ConfigError for a name that is
    taken, or a policy of which nobody knows how long it may wait."""
    if name in PRESETS:
        raise ConfigError(f"a preset is called {name!r} already; choose another name")
    if wait_max_s is None and not hasattr(policy, "range_s"):
        raise ConfigError(f"{name}: give wait_max_s, or the policy a range_s; the bound on recovery (G6) needs the longest wait")
    PRESETS[name] = Preset(policy, source, wait_max_s, fallback, heartbeat)
