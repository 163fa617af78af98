"""Virtual time: everything happens once, by its time, its kind and when it was scheduled, with shared events or without."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.clock import ALARM, ARRIVAL, FAULT, SPAN, Alarm, Call, Clock, few_collections

KINDS = {"call": ARRIVAL, "wake": ARRIVAL, "fault": FAULT, "alarm": ALARM}
PLANS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(("wake", "call", "wake", "fault", "alarm"))), min_size=8, max_size=30
)


def schedule(clock: Clock, at: int, kind: str, happen: object) -> None:
    if kind == "wake":
        clock.wake(at, happen)  # type: ignore[arg-type] # a function of a call
    else:
        Call(clock, at, KINDS[kind], happen)  # type: ignore[arg-type] # as above


@given(PLANS, PLANS)
def test_shared_events_change_no_order(plan: list[tuple[int, str]], later: list[tuple[int, str]]) -> None:
    """`later` is scheduled from inside of the first thing that happens: at the same instant, or after it."""
    clock, happened = Clock(), []
    wanted = sorted(((at, KINDS[kind], number) for number, (at, kind) in enumerate(plan)))

    def note(number: int, follow: bool) -> object:
        def happen(_: Call) -> None:
            happened.append((clock.now, number))
            if follow:
                for place, (wait, kind) in enumerate(later):
                    schedule(clock, clock.now + wait, kind, note(1000 + place, False))

        return happen

    first = wanted[0][2] if wanted else None
    for number, (at, kind) in enumerate(plan):
        schedule(clock, at, kind, note(number, number == first))
    clock.run()
    assert sorted(happened) == sorted(
        [(at, number) for at, _, number in wanted]
        + [(wanted[0][0] + wait, 1000 + place) for place, (wait, _) in enumerate(later) if wanted]
    )
    assert [at for at, _ in happened] == sorted(at for at, _ in happened)
    order = {number: (at, KINDS[kind], number) for number, (at, kind) in enumerate(plan)}
    of_plan = [number for _, number in happened if number < 1000]
    assert of_plan == sorted(of_plan, key=lambda number: order[number])
    of_later = [number for _, number in happened if number >= 1000]
    assert of_later == sorted(of_later, key=lambda number: (later[number - 1000][0], KINDS[later[number - 1000][1]], number))


def test_a_fan_out_over_equal_lines_is_one_event() -> None:
    clock, woken = Clock(), []
    for number in range(5):
        clock.wake(7, lambda _, number=number: woken.append(number))  # type: ignore[misc] # its own number
    assert clock.peek() == 7
    clock.step()
    assert woken == [0, 1, 2, 3, 4]


class Sleeper:
    """Rings at each of its deadlines."""

    def __init__(self, deadlines: list[int]) -> None:
        self.deadlines = deadlines
        self.rang: list[int] = []
        self.clock = Clock()
        self.alarm = Alarm(self.clock, self)

    def next_deadline(self) -> int | None:
        return min(self.deadlines, default=None)

    def ring(self) -> None:
        self.rang.append(self.clock.now)
        self.deadlines = [at for at in self.deadlines if at > self.clock.now]


def test_an_alarm_rings_at_each_deadline_and_only_then() -> None:
    sleeper = Sleeper([5, 9])
    sleeper.alarm.arm(sleeper.next_deadline())
    sleeper.deadlines.append(3)  # an earlier one
    sleeper.alarm.arm(sleeper.next_deadline())
    Call(sleeper.clock, 4, ARRIVAL, lambda _: sleeper.deadlines.remove(5))  # and one that is taken back
    sleeper.clock.run()
    assert sleeper.rang == [3, 9]


AT = st.one_of(st.integers(0, 3), st.integers(SPAN - 2, SPAN + 2), st.integers(0, 40 * SPAN))


@given(st.lists(AT, max_size=30), st.lists(AT.filter(bool), max_size=8), st.lists(AT, max_size=8))
def test_what_is_far_off_happens_in_its_time(ats: list[int], waits: list[int], timeouts: list[int]) -> None:
    """Calls, calls that each call schedules, and SimPy's own timeouts, in one run and in runs of half a span or two."""
    wanted = sorted([*ats, *(at + wait for at in ats for wait in waits), *timeouts])

    def world() -> tuple[Clock, list[int]]:
        clock, happened = Clock(), []

        def happen(call: Call) -> None:
            happened.append(clock.now)
            for wait in waits if call.argument else ():
                Call(clock, clock.now + wait, ALARM, happen)

        for at in ats:
            Call(clock, at, ARRIVAL, happen, True)
        for at in timeouts:
            clock.timeout(at).callbacks.append(lambda _: happened.append(clock.now))
        return clock, happened

    clock, happened = world()
    clock.run()
    assert happened == wanted
    clock, happened = world()
    for until in range(SPAN // 2, 81 * SPAN, 3 * SPAN // 2):
        clock.run(until=until)
        assert happened == [at for at in wanted if at < until]


def test_the_collector_is_left_as_it_was() -> None:
    before = gc.get_threshold()
    with few_collections():
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before


def test_what_is_due_when_a_run_ends_waits_for_the_next() -> None:
    clock, happened = Clock(), []
    for at in (3, 5, 8):
        Call(clock, at, ARRIVAL, lambda call: happened.append(call.argument), at)
    clock.run(until=5)
    assert (clock.now, happened) == (5, [3])
    with pytest.raises(ValueError, match="must be after now, which is 5"):
        clock.run(until=5)
    clock.run()
    assert (clock.now, happened) == (8, [3, 5, 8])
