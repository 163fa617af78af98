"""A session's clock counts the time for which the machine was suspended."""

import trio

from reference.client.trio_io import SessionClock, suspended_ns
from reference.protocol.timers import NS_PER_S


async def test_a_suspend_counts_as_time() -> None:
    asleep = 5 * NS_PER_S  # it was, before the session began
    clock = SessionClock(lambda: asleep)
    before = clock.now()
    await trio.sleep(1)
    asleep += 7200 * NS_PER_S
    assert clock.now() - before == 7201 * NS_PER_S
    await trio.sleep(1)
    assert clock.now() - before == 7202 * NS_PER_S
    assert clock.in_trios_time(clock.now()) == trio.current_time()


async def test_what_two_readings_differ_by_is_no_suspend() -> None:
    readings = iter([0, 300, -200, 100_000_000, 0])
    clock = SessionClock(lambda: next(readings))
    times = [clock.now() for _ in range(4)]
    assert times == [times[0]] * 4


def test_this_machine_reports_how_long_it_was_suspended() -> None:
    assert suspended_ns() > -NS_PER_S
