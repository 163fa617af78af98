"""The formulas of other systems' waits: exact numbers computed by hand, and the range that each one states."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import (
    WAIT_CEILING_S,
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
)
from reference.protocol.policies.reconnect import Attempt, FullJitter

from .machines import Always


def wait_of(policy: Policy, failures: int, draw: float, previous_s: float = 0.0) -> float | None:
    return policy.wait_s(Attempt(failures, previous_s, 0.0, failures, Always(draw)))


@pytest.mark.parametrize(
    ("build", "failures", "draw", "wait_s"),
    [
        (lambda: Fixed(seconds=3), 7, 0.5, 3.0),
        (lambda: Fixed(seconds=3, spread_s=4), 0, 0.25, 4.0),
        (lambda: ExponentialBackoff(base_s=3, factor=4), 0, 0.5, 3.0),
        (lambda: ExponentialBackoff(base_s=3, factor=4), 2, 0.5, 48.0),
        (lambda: ExponentialBackoff(base_s=3, factor=4, cap_s=40), 2, 0.5, 40.0),
        (lambda: ExponentialBackoff(base_s=3, factor=4), 1000, 0.5, 86_400.0),
        (lambda: ExponentialBackoff(), 3, 0.5, 8.0),
        (lambda: Schedule(waits_s=(1, 5), then_s=9), 0, 0.5, 1.0),
        (lambda: Schedule(waits_s=(1, 5), then_s=9), 1, 0.5, 5.0),
        (lambda: Schedule(waits_s=(1, 5), then_s=9), 2, 0.5, 9.0),
        (lambda: Schedule(waits_s=(1, 5), then_s=9), 99, 0.5, 9.0),
        (lambda: ScaledJitter(base_s=2, factor=3, cap_s=10, low=0.5, high=1.5), 1, 0.25, 4.5),
        (lambda: ScaledJitter(base_s=2, factor=3, cap_s=10, low=0.5, high=1.5), 2, 1.0, 15.0),
        (lambda: ScaledJitter(base_s=2, factor=3, cap_s=10, low=0.5, high=1.5, caps="after"), 2, 1.0, 10.0),
        (lambda: ScaledJitter(base_s=2, factor=3, cap_s=10, low=0.5, high=1.5, caps="after"), 2, 0.0, 9.0),
        (lambda: ScaledJitter(base_s=2, factor=3, low=0.5, high=3, caps="before"), 50, 1.0, 86_400.0),
        (lambda: ScaledJitter(base_s=2, factor=3, low=0.5, high=3, caps="after"), 50, 1.0, 86_400.0),
        (lambda: AddedJitter(base_s=2, factor=3, cap_s=10, low_s=-1, high_s=3), 1, 0.5, 7.0),
        (lambda: AddedJitter(base_s=2, factor=3, cap_s=10, low_s=-1, high_s=3), 5, 1.0, 13.0),
        (lambda: AddedJitter(base_s=2, factor=3, cap_s=10, low_s=-5, high_s=3), 0, 0.0, 0.0),
        (lambda: SpreadJitter(base_s=2, factor=3, cap_s=10, low_s=4, shift_s=0.5), 0, 0.5, 4.5),
        (lambda: SpreadJitter(base_s=2, factor=3, cap_s=10, low_s=4, shift_s=0.5), 1, 0.5, 5.5),
        (lambda: SpreadJitter(base_s=2, factor=3, cap_s=10, low_s=4, shift_s=0.5), 9, 1.0, 10.5),
        (lambda: SpreadJitter(base_s=2, factor=3, cap_s=10, low_s=4, shift_s=0.5, most_s=6), 9, 1.0, 6.0),
        (lambda: SpreadJitter(), 0, 0.75, 0.75),
        (lambda: Decorrelated(base_s=2, cap_s=40), 0, 0.5, 4.0),
        (lambda: SignedJitter(base_s=2, factor=3, share=0.5), 1, 0.25, 5.25),  # 0.2 is even: less
        (lambda: SignedJitter(base_s=2, factor=3, share=0.5), 1, 0.5, 7.5),  # 0.5 is odd: more
        (lambda: SignedJitter(base_s=2, factor=3, cap_s=7, share=0.5), 1, 0.5, 7.0),
        (lambda: SignedJitter(base_s=2, factor=3, share=0.5), 1000, 0.5, 86_400.0),
        (lambda: DoubleJitter(base_s=2, factor=3, cap_s=10, low=1, high=2), 1, 0.5, 13.5),
        (lambda: DoubleJitter(base_s=2, factor=3, cap_s=10, low=1, high=2), 9, 1.0, 40.0),
        (lambda: DoubleJitter(), 1, 0.5, 3.0),
        (lambda: DoubleJitter(), 1000, 0.5, 86_400.0),
        (lambda: Polynomial(factor_s=2, power=3, first_n=1, cap_s=100, quiet_attempts=2, quiet_s=5, spread_s=4), 1, 0.5, 7.0),
        (lambda: Polynomial(factor_s=2, power=3, first_n=1, cap_s=100, quiet_attempts=2, quiet_s=5, spread_s=4), 2, 0.25, 55.0),
        (lambda: Polynomial(factor_s=2, power=3, first_n=1, cap_s=100, quiet_attempts=2, quiet_s=5, spread_s=4), 9, 1.0, 104.0),
        (lambda: Polynomial(cap_s=100), 0, 0.5, 0.0),
        (lambda: Polynomial(cap_s=86_400, power=10), 10**200, 0.5, 86_400.0),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3, cap_s=10), 0, 0.25, 2.0),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3, cap_s=10), 1, 0.25, 2.0),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3, cap_s=10), 2, 0.25, 6.0),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3, cap_s=10), 3, 0.25, 10.0),
        (lambda: OnceDrawn(low_s=2, high_s=6, factor=2, cap_s=20), 0, 0.25, 3.0),
        (lambda: OnceDrawn(low_s=2, high_s=6, factor=2, cap_s=20), 2, 0.25, 12.0),
        (lambda: OnceDrawn(low_s=2, high_s=6, factor=2, cap_s=20), 3, 0.25, 20.0),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 0, 0.5, 0.0),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 1, 0.5, 12.0),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 2, 0.75, 20.0),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 4, 1.0, 36.0),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 5, 1.0, 36.0),
    ],
)
def test_the_formulas(build: Callable[[], Policy], failures: int, draw: float, wait_s: float) -> None:
    assert wait_of(build(), failures, draw) == pytest.approx(wait_s, rel=1e-12)


@pytest.mark.parametrize(
    ("failures", "previous_s", "draw", "wait_s"),
    [
        (0, 9.0, 1.0, 6.0),  # a wait from before the last live session is forgotten
        (1, 5.0, 1.0, 15.0),
        (1, 5.0, 0.5, 8.5),
        (4, 20.0, 1.0, 40.0),
        (1, 0.5, 1.0, 6.0),  # never less than the base, as when another policy has waited before
    ],
)
def test_decorrelated_jitter_grows_from_the_wait_before(failures: int, previous_s: float, draw: float, wait_s: float) -> None:
    assert wait_of(Decorrelated(base_s=2, cap_s=40), failures, draw, previous_s) == wait_s


def test_two_draws_for_one_wait_do_not_hang_together() -> None:
    random_source = Always(0.5)
    DoubleJitter().wait_s(Attempt(1, 0.0, 0.0, 3, random_source))
    assert random_source.asked == [("backoff", 3), ("backoff/scale", 3)]


def test_what_is_drawn_once_is_drawn_by_a_name_of_its_own() -> None:
    random_source = Always(0.5)
    for failures in range(3):
        OnceDrawn().wait_s(Attempt(failures, 0.0, 0.0, failures, random_source, "poll_backoff"))
    assert random_source.asked == [("poll_backoff/once", 0)] * 3


SECONDS = st.floats(0.1, 100)
CAPS = st.none() | st.floats(1, 1000)
LONG = st.floats(50, 500)
PAIRS = st.tuples(st.floats(0, 10), st.floats(0, 10)).map(sorted)
FACTORS = st.floats(1, 4)
LIMITS = st.none() | st.integers(0, 6)
STRAIGHT: st.SearchStrategy[Policy] = st.one_of(
    st.builds(Fixed, seconds=SECONDS, spread_s=SECONDS, attempts_max=LIMITS),
    st.builds(ExponentialBackoff, base_s=SECONDS, factor=FACTORS, cap_s=CAPS, attempts_max=LIMITS),
    st.builds(Schedule, waits_s=st.lists(SECONDS, min_size=1, max_size=4).map(tuple), then_s=st.none() | SECONDS),
    st.builds(
        lambda pair, **rest: ScaledJitter(low=pair[0], high=pair[1], **rest),
        PAIRS,
        base_s=SECONDS,
        factor=FACTORS,
        cap_s=CAPS,
        caps=st.sampled_from(["before", "after"]),
    ),
    st.builds(
        lambda pair, shift, **rest: AddedJitter(low_s=pair[0] - shift, high_s=pair[1] - shift, **rest),
        PAIRS,
        st.floats(0, 10),
        base_s=SECONDS,
        factor=FACTORS,
        cap_s=CAPS,
    ),
    st.builds(
        SpreadJitter, base_s=SECONDS, factor=FACTORS, cap_s=CAPS, low_s=SECONDS, shift_s=SECONDS, most_s=st.floats(50, 500)
    ),
    st.builds(lambda pair, **rest: DoubleJitter(low=pair[0], high=pair[1], **rest), PAIRS, base_s=SECONDS, factor=FACTORS),
    st.builds(
        Polynomial,
        factor_s=SECONDS,
        first_n=st.integers(0, 3),
        cap_s=SECONDS,
        quiet_attempts=st.integers(0, 3),
        quiet_s=SECONDS,
        spread_s=SECONDS,
        attempts_max=LIMITS,
    ),
    st.builds(LateGrowth, first_s=SECONDS, base_s=SECONDS, factor=FACTORS, cap_s=CAPS),
    st.builds(lambda pair, **rest: OnceDrawn(low_s=pair[0] + 0.1, high_s=pair[1] + 0.1, **rest), PAIRS, factor=FACTORS),
    st.builds(lambda pair, **rest: Ramp(low=pair[0], high=pair[1], **rest), PAIRS, base_s=SECONDS),
)
"""Policies whose wait rises with the draw, so that the lowest and the highest draw give the ends of its range."""


@given(STRAIGHT, st.integers(0, 60))
def test_the_range_that_a_policy_names_ends_where_its_waits_end(policy: Policy, failures: int) -> None:
    low_s, high_s = wait_of(policy, failures, 0.0), wait_of(policy, failures, 1.0)
    if low_s is None or high_s is None:
        assert low_s is high_s is policy.range_s(failures)
    else:
        assert policy.range_s(failures) == pytest.approx((low_s, high_s), rel=1e-9)
        assert 0 <= low_s <= high_s <= WAIT_CEILING_S + 100


@given(st.floats(0.5, 20), st.floats(1, 400), st.integers(0, 8))
def test_the_range_of_decorrelated_jitter_is_that_of_its_longest_chain(base_s: float, cap_factor: float, failures: int) -> None:
    policy, previous_s = Decorrelated(base_s=base_s, cap_s=base_s * cap_factor), 0.0
    for k in range(failures + 1):
        wait = wait_of(policy, k, 1.0, previous_s)
        assert wait is not None
        previous_s = wait
    assert policy.range_s(failures) == pytest.approx((base_s, previous_s))


def test_the_range_of_signed_jitter_reaches_furthest_just_below_a_decimal() -> None:
    policy = SignedJitter(base_s=2, factor=3, share=0.5)
    assert policy.range_s(1) == pytest.approx((6 * 0.55, 6 * 1.5))
    assert wait_of(policy, 1, 0.9 - 1e-9) == pytest.approx(6 * 0.55)
    assert wait_of(policy, 1, 1 - 1e-9) == pytest.approx(6 * 1.5)


@pytest.mark.parametrize(
    ("build", "failures", "range_s"),
    [
        (lambda: AddedJitter(base_s=0.5, low_s=-2, high_s=-0.25), 0, (0.0, 0.25)),
        (lambda: AddedJitter(base_s=0.5, low_s=-2, high_s=-1), 0, (0.0, 0.0)),
        (lambda: Ramp(base_s=12, low=0.5, high=1.5), 1, (6.0, 18.0)),
        (lambda: Decorrelated(base_s=2, cap_s=1000), 1, (2.0, 18.0)),
        (lambda: DoubleJitter(base_s=2, factor=3, low=0.5, high=3), 1, (3.0, 36.0)),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3), 0, (0.0, 8.0)),
        (lambda: LateGrowth(first_s=8, base_s=2, factor=3), 2, (6.0, 6.0)),
        (lambda: OnceDrawn(low_s=2, high_s=6, factor=2, cap_s=20), 2, (8.0, 20.0)),
        (lambda: Fixed(seconds=3, spread_s=4), 5, (3.0, 7.0)),
    ],
)
def test_ranges(build: Callable[[], Policy], failures: int, range_s: tuple[float, float]) -> None:
    assert build().range_s(failures) == range_s


def test_the_range_of_our_own_policy() -> None:
    policy = FullJitter(base_s=2, factor=3, cap_s=10, floor_s=0.5)
    assert [policy.range_s(failures) for failures in (0, 1, 2, 3, 99)] == [
        (0, 0),
        (0.5, 2.5),
        (0.5, 6.5),
        (0.5, 10.5),
        (0.5, 10.5),
    ]


def test_a_policy_gives_up_after_exactly_as_many_failures_as_it_says() -> None:
    policy = Fixed(seconds=1, attempts_max=3)
    assert (wait_of(policy, 2, 0.5), policy.range_s(2)) == (1.0, (1.0, 1.0))
    assert (wait_of(policy, 3, 0.5), policy.range_s(3)) == (None, None)
    assert wait_of(Fixed(seconds=1, attempts_max=0), 0, 0.5) is None
    assert wait_of(Fixed(seconds=1), 10**9, 0.5) == 1.0


def test_a_schedule_gives_up_at_its_end_or_before() -> None:
    spent = Schedule(waits_s=(1, 2))
    assert [wait_of(spent, failures, 0.5) for failures in range(4)] == [1, 2, None, None]
    cut = Schedule(waits_s=(1, 2), then_s=3, attempts_max=1)
    assert [wait_of(cut, failures, 0.5) for failures in range(3)] == [1, None, None]


@pytest.mark.parametrize(
    "build",
    [
        lambda low, high: ScaledJitter(low=low, high=high),
        lambda low, high: AddedJitter(low_s=low, high_s=high),
        lambda low, high: Decorrelated(base_s=low, cap_s=high),
        lambda low, high: DoubleJitter(low=low, high=high),
        lambda low, high: OnceDrawn(low_s=low, high_s=high),
        lambda low, high: Ramp(low=low, high=high),
    ],
)
def test_bounds_in_the_wrong_order_are_refused_and_equal_ones_are_not(build: Callable[[float, float], Policy]) -> None:
    assert build(1.0, 1.0) == build(1.0, 1.0)
    name = type(build(1.0, 2.0)).__name__
    with pytest.raises(ConfigError, match=rf"^{name}\(.*\): the lower value is above the upper one; exchange them$"):
        build(2.0, 1.0)
