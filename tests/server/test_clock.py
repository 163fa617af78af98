"""The server's clock while the machine is suspended."""

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.server import clock as server_clock
from reference.server.clock import ServerClock

from .running_server import running_server

HOUR_NS = 3600 * 10**9


async def test_the_time_of_a_suspend_counts(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    clock = ServerClock(0)
    await trio.sleep(10)
    assert not clock.notice_suspend()
    before = server_clock.suspended_ns()
    monkeypatch.setattr(server_clock, "suspended_ns", lambda: before + HOUR_NS)
    assert clock.notice_suspend()
    assert clock.now() == pytest.approx(10 * 10**9 + HOUR_NS, abs=10**6)
    assert clock.trio_deadline(clock.now() + 10**9) == pytest.approx(trio.current_time() + 1, abs=1e-3)
    assert not clock.notice_suspend()


async def test_a_client_that_was_silent_over_a_suspend_is_closed_soon(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Trio's clock stands still meanwhile, so it had its whole time to be silent once more."""
    async with running_server(protocol=ServerConfig(silence_max_s=35)) as running, trio.open_nursery() as nursery:
        nursery.start_soon(running.server.watch_suspends)
        async with running.join("alice") as alice:
            before = server_clock.suspended_ns()
            monkeypatch.setattr(server_clock, "suspended_ns", lambda: before + HOUR_NS)
            began_at = trio.current_time()
            assert (await alice.closed())[0] == 4003
            assert trio.current_time() - began_at < 5
        nursery.cancel_scope.cancel()
