"""Reconnect policies in both languages: as they are shipped, and, written down a second time, as a schedule of waits of the
theory.

Left out are those whose waits are no uniform law, or not independent: Socket.IO, AnyCable, decorrelated jitter, a jitter that is
drawn once in a client's life.
"""

from dataclasses import dataclass

from reference.protocol.policies.catalogue import Policy as ShippedPolicy
from reference.protocol.policies.catalogue import ScaledJitter
from reference.protocol.policies.reconnect import FullJitter
from simulation.scenario.presets import PresetPolicy
from simulation.validation.closed_forms.backoff import Schedule, Wait, ceiling, exponential, fixed, floored_full_jitter

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """shipped: what a scenario's client has. first_spread_s: what the server's welcome asks for, if the policy listens to it."""

    shipped: ShippedPolicy | PresetPolicy
    schedule: Schedule
    first_spread_s: float = 1.0


def _preset(name: str, schedule: Schedule) -> Policy:
    return Policy(PresetPolicy(preset=name), schedule)


def _added(low_s: float, high_s: float, attempts: int | None = None) -> Schedule:
    """2**(k - 1) + U(low, high)."""
    return lambda k: None if attempts is not None and k > attempts else Wait(low_s, high_s).later(2.0 ** (k - 1))


def _steady(low_s: float, high_s: float, attempts: int) -> Schedule:
    return lambda k: Wait(low_s, high_s) if k <= attempts else None


def _mattermost(k: int) -> Wait:
    return Wait(0, 2).later(3.0 if k <= 7 else min(300.0, 3.0 * k * k))


def _ably(k: int) -> Wait:
    step_s = 15 * min((k + 1) / 3, 2)
    return Wait(0.8 * step_s, step_s) if k > 1 else Wait(0, 0)


def _python_websockets(k: int) -> Wait:
    later_s = ceiling(k - 1, 3.1, 1.618, 90.0)
    return Wait(later_s, later_s) if k > 1 else Wait(0, 5)


POLICIES: dict[str, Policy] = {
    "ours": Policy(FullJitter(), floored_full_jitter()),
    "ours, spread 5 s": Policy(FullJitter(), floored_full_jitter(first_spread_s=5.0), first_spread_s=5.0),
    "+-20 %": Policy(ScaledJitter(cap_s=30.0, low=0.8, high=1.2), exponential(0.2)),
    **{
        name: _preset(name, schedule)
        for name, schedule in {
            "brief-as-documented": exponential("none", cap_s=DAY_S),
            "brief-as-built": fixed(then_s=5.0),
            "full-jitter": exponential("full"),
            "equal-jitter": exponential("equal"),
            "grpc": exponential(0.2, base_s=1.0, factor=1.6, cap_s=120.0),
            "sip-outbound": exponential("equal", base_s=30.0, cap_s=1800.0),
            "y-websocket": exponential("none", base_s=0.1, cap_s=2.5),
            "signalr": fixed(0, 2, 10, 30),
            "phoenix": fixed(0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2, then_s=5),
            "liveblocks": fixed(0.25, 0.5, 1, 2, 4, 8, then_s=10),
            "sockudo-js": fixed(0, 1, 4, 9, 16, 25),
            "nats": _steady(2.0, 2.1, 60),
            "graphql-ws": _added(0.3, 3.0, attempts=5),
            "hocuspocus": lambda k: Wait(1.0, max(1.0, ceiling(k, 1.0, 2.0, 30.0))),
            "centrifuge-js": lambda k: Wait(0.5, 0.5 + ceiling(k, 0.5, 2.0, 20.0), at_most_s=20.0),
            "mattermost": _mattermost,
            "ably": _ably,
            "python-websockets": _python_websockets,
        }.items()
    },
}
