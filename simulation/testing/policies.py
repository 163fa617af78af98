"""Strategies for policies of reconnect, fallback and heartbeat: every preset and formula, with shortened times.

A schedule of some seconds shows little of a policy that waits for minutes. So the times of a policy are shortened in proportion,
until its longest wait fits; its form, its jitter and its giving up stay the same.
"""

import math
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from reference.protocol.policies.catalogue import WAIT_CEILING_S, Policy
from reference.protocol.policies.fallback import AfterEither, AfterFailures, AfterSeconds, Fallback, NeverFallBack
from reference.protocol.policies.keepalive import (
    AfterSilence,
    EveryInterval,
    FreshnessPoints,
    Heartbeat,
    MissesInARow,
    NoPings,
    PhiAccrual,
    PhiExponential,
)
from simulation.scenario.presets import PRESETS, SHIPPED
from simulation.scenario.scenario import longest_wait_s

PolicyKind = TypeVar("PolicyKind", bound=Policy)
LONGEST_S = 4.0
MANY_FAILURES = 1_000_000
_CAP_OF_BASE = 16  # for a formula without a cap


def hurried(policy: PolicyKind, longest_s: float = LONGEST_S) -> PolicyKind:
    """The same policy with its times shortened in proportion, so that its longest wait is `longest_s` at the most."""
    if longest_wait_s(policy, math.inf) >= WAIT_CEILING_S:
        policy = msgspec.structs.replace(policy, cap_s=_CAP_OF_BASE * getattr(policy, "base_s"))  # noqa: B009  (of a union)
    by = longest_s / max(longest_s, longest_wait_s(policy, math.inf))
    return msgspec.structs.replace(policy, **{name: _shortened(value, by) for name, value in _times_of(policy)})


def _times_of(policy: Policy) -> list[tuple[str, Any]]:
    """What is in seconds, and not left out."""
    named = [(field.name, getattr(policy, field.name)) for field in msgspec.structs.fields(policy)]
    return [(name, value) for name, value in named if (name.endswith("_s") or name == "seconds") and value is not None]


def _shortened(value: Any, by: float) -> Any:
    if isinstance(value, tuple):
        return tuple(_shortened(each, by) for each in value)
    return value if by == 1.0 or not value else math.copysign(max(0.001, round(abs(value) * by, 3)), value)


@lru_cache
def reconnect_policies(longest_s: float = LONGEST_S) -> st.SearchStrategy[Policy]:
    """The policies of well-known systems, ours first, each so fast that no wait is much longer than `longest_s`."""
    names = sorted(SHIPPED, key=lambda name: (name != "steadywire", name))
    policies = [hurried(PRESETS[name].policy, longest_s) for name in names]  # type: ignore[type-var]  # those shipped are formulas
    return st.sampled_from(policies)


def fallbacks() -> st.SearchStrategy[Fallback]:
    """When polling takes over, within seconds, or never."""
    seconds, failures = st.sampled_from([3.0, 0.5, 8.0]), st.integers(1, 3)
    return st.one_of(
        failures.map(AfterFailures),
        seconds.map(AfterSeconds),
        st.builds(AfterEither, failures, seconds),
        st.just(NeverFallBack()),
    )


def heartbeats(quiet_max_s: float = 3.0, beat_s: float = 3.0) -> st.SearchStrategy[Heartbeat]:
    """When to ping: such as suit a server that closes who is quiet for longer than `quiet_max_s`, and whose own heartbeat comes
    every `beat_s`. The last of them never pings again; it suits no such server, only one with longer limits."""
    short = st.sampled_from([1.0, 2.0])
    return st.one_of(
        st.builds(EveryInterval, short, short),
        st.builds(lambda silence_s, timeout_s: AfterSilence(silence_s, timeout_s, quiet_max_s), short, short),
        st.builds(lambda interval_s, misses: MissesInARow(interval_s, misses, 0.5), short, st.sampled_from([3, 5])),
        short.map(lambda interval_s: FreshnessPoints(interval_s, 3 * interval_s)),
        st.builds(
            lambda interval_s, samples: PhiAccrual(interval_s, 8.0, samples, 10.0, 0.1, 1.0), short, st.sampled_from([3, 100])
        ),
        st.builds(lambda threshold: PhiExponential(1.0, threshold, 10, 10.0), st.sampled_from([1.0, 2.0])),
        st.just(NoPings(2 * beat_s + 1.0)),
    )
