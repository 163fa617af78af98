"""One run in memory: its clock, and a bug of ours that ends one run only."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import PollRequest
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.server.clock import ServerClock

from .running_server import ORIGIN_NS, OTHER_RUN, RUN, running_server


async def test_a_fault_in_one_run_costs_that_run_only(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Run.receive_frames

    def explode(run: Run, connection_id: int, messages: Any, now: int, others: int = 0) -> None:
        if run.run_id == OTHER_RUN and any(type(message).__name__ == "Ping" for message in messages):
            raise RuntimeError("a fault of ours")
        receive(run, connection_id, messages, now, others)

    monkeypatch.setattr(Run, "receive_frames", explode)
    async with running_server(runs=(RUN, OTHER_RUN)) as running, running.join("alice") as alice:
        async with running.join("mallory", OTHER_RUN) as mallory:
            await mallory.publish(1)
            await mallory.send("ping", nonce=1)
            assert (await mallory.closed())[0] == 1011
        assert (await alice.publish(1))["type"] == "accepted"
        async with running.join("mallory", OTHER_RUN, generation=2) as mallory:
            assert (await mallory.publish(1))["duplicate"] is True


async def test_a_fault_while_a_poll_waits_is_answered_with_500(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(run: Run, now: int) -> None:
        raise RuntimeError("a fault of ours")

    async with running_server() as running:
        await running.poll()
        monkeypatch.setattr(Run, "handle_timeout", explode)
        answer = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll?afterSequence=0&waitMs=20000")
        assert (answer.status, answer.problem) == (500, {"code": 1011, "message": "internal error"})


async def test_a_run_that_has_ended_asks_a_client_to_retry(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        await running.poll()
        (live,) = running.server._parts.runs.runs
        live.end()
        with pytest.raises(RemoteError) as refused:
            live.request(PollRequest(), Identity("alice"))
        assert refused.value.code is CloseCode.OVERLOADED
        await running.poll()


async def test_the_clock_follows_trios_and_never_goes_back(autojump_clock: MockClock) -> None:
    clock = ServerClock(ORIGIN_NS)
    assert clock.now() == ORIGIN_NS
    await trio.sleep(1.5)
    assert clock.now() == ORIGIN_NS + 1_500_000_000
    assert clock.reached(ORIGIN_NS + 1_500_000_001) == ORIGIN_NS + 1_500_000_001
    assert clock.now() == ORIGIN_NS + 1_500_000_001


async def test_an_alarm_is_never_too_early_for_its_deadline(autojump_clock: MockClock) -> None:
    clock = ServerClock(ORIGIN_NS)
    for offset in range(1, 2000, 7):
        at = ORIGIN_NS + offset * 333_333_333 + offset
        with trio.CancelScope(deadline=clock.trio_deadline(at)):
            await trio.sleep_forever()
        assert clock.reached(at) >= at
        assert clock.now() - at < 1000


async def test_a_wall_clock_that_is_not_given_is_read(autojump_clock: MockClock) -> None:
    assert ServerClock().now() > ORIGIN_NS
