"""Every limit that a welcome reports: the configured value, and what happens to a peer that reaches it.

A case makes a peer reach one limit, and says what the peer must get. The rest is the same for all: the welcome, the other
client (bob), who must not be affected, the count, and the row of docs/operations.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.config import ServerConfig
from reference.protocol.frames import Limits
from reference.protocol.limits import Limit
from reference.protocol.records import Append
from reference.server.settings import ServerSettings
from reference.server.wire.limits import DoorLimits
from reference.store import MemoryStore, StoreError
from tests.docs import document

from .running_server import OTHER_RUN, RUN, FrameClient, RunningServer
from .test_limits import POLL, PUBLISH, a_server, reached
from .wire.helpers import Answer, read_answer


class LateStore(MemoryStore):
    """Takes a second for each batch."""

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        await trio.sleep(1)
        return await super().append(batches)


@dataclass(frozen=True)
class Outcome:
    """What the peer hears. status: over HTTP. retry_after_s: of the header, or of a rejection that names a time."""

    code: int | str
    status: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Case:
    """`limit` is reached by `reach`, once, when the server has these settings and reports `value`."""

    limit: Limit
    value: float
    outcome: Outcome
    reach: Callable[[RunningServer, FrameClient], Awaitable[Outcome]]
    settings: dict[str, Any] = field(default_factory=dict)


def closed(code: int | None) -> Outcome:
    assert code is not None, "cut, without a code"
    return Outcome(code)


def refused(answer: Answer) -> Outcome:
    wait = answer.headers.get("retry-after")
    return Outcome(answer.problem["code"], answer.status, None if wait is None else float(wait))


async def a_frame_too_large(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("alice") as alice:
        await alice.send("publish", clientSequence=1, eventType="CHAT", data={"text": "x" * 4096})
        return closed((await alice.closed())[0])


async def a_body_too_large(running: RunningServer, bob: FrameClient) -> Outcome:
    return refused(await running.ask("POST", PUBLISH, b"x" * 1001))


async def publishes_too_fast(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("alice") as alice:
        answers = [await alice.publish(number) for number in range(1, 6)]
        assert [answer["type"] for answer in answers] == ["accepted"] * 4 + ["rejected"]
        assert answers[4]["retryable"] is True
        return Outcome(answers[4]["code"], retry_after_s=answers[4]["retryAfterMs"] / 1000)


async def publishes_without_an_answer(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("alice") as alice:
        for number in range(1, 6):
            await alice.send("publish", clientSequence=number, eventType="CHAT", data={})
        rejected = await alice.receive("rejected")
        assert (rejected["clientSequence"], rejected["retryable"]) == (5, True)
        await alice.events(4)
        return Outcome(rejected["code"])


async def a_connection_of_one_user_too_many(running: RunningServer, bob: FrameClient) -> Outcome:
    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(running.join(f"alice-{number}", token="dev:alice"))
        third = await stack.enter_async_context(running.connect())
        await third.send("hello", protocol=1, clientId="alice-3", token="dev:alice")
        return closed((await third.closed())[0])


async def a_connection_too_many(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("carol"):
        return refused(await running.ask("GET", POLL))


async def a_run_in_memory_too_many(running: RunningServer, bob: FrameClient) -> Outcome:
    return refused(await running.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll"))


async def a_run_made_too_many(running: RunningServer, bob: FrameClient) -> Outcome:
    paths = [f"/api/runs/{n:08}-0000-0000-0000-000000000000" for n in range(4)]
    answers = [await running.ask("PUT", path) for path in paths]
    assert [answer.status for answer in answers[:3]] == [201] * 3
    return refused(answers[3])


async def no_first_frame(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.connect() as alice:
        since = trio.current_time()
        outcome = closed((await alice.closed())[0])
        assert trio.current_time() - since == pytest.approx(3, abs=0.1)
        return outcome


async def a_head_that_stands_still(running: RunningServer, bob: FrameClient) -> Outcome:
    stream = running.server.connect()
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
    since = trio.current_time()
    outcome = refused(await read_answer(stream))
    assert trio.current_time() - since == pytest.approx(5, abs=0.1)
    await stream.aclose()
    return outcome


async def a_client_that_falls_silent(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("alice") as alice:
        since = trio.current_time()
        await trio.sleep(15)
        await bob.send("ping", nonce=1)
        await bob.receive("pong")
        outcome = closed((await alice.closed())[0])
        assert trio.current_time() - since == pytest.approx(20, abs=0.1)
        return outcome


async def a_reader_that_takes_nothing(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("carol") as carol, running.connect(capacity_bytes=2048) as alice:
        await alice.send("hello", protocol=1, clientId="alice", token="dev:alice")
        await trio.sleep(0.1)
        for number in range(1, 30):
            await carol.publish(number, "x" * 1000)
        await trio.sleep(4.5)
        assert not reached(running, Limit.SLOW_READER)
        await trio.sleep(1)
        return closed(connections_closed(running))


def connections_closed(running: RunningServer) -> int:
    """The code with which the server has left the one client that it left; a client that reads nothing does not hear it."""
    left = [
        code for code in ("4008", "4003") if running.server.monitor.metrics.value(metrics.DISCONNECTIONS, code=code, by="server")
    ]
    assert len(left) == 1
    return int(left[0])


async def events_beyond_the_window(running: RunningServer, bob: FrameClient) -> Outcome:
    async with running.join("carol") as carol:
        async with running.connect(capacity_bytes=2048) as alice:
            await alice.send("hello", protocol=1, clientId="alice", token="dev:alice")
            await trio.sleep(0.1)
            for number in range(1, 301):
                await carol.publish(number, "x" * 200)
            outcome = closed((await alice.closed())[0])
            numbers = alice.numbers_received()
            assert numbers == list(range(1, len(numbers) + 1))
        position = {"epoch": carol.received[0]["epoch"], "afterSequence": numbers[-1]}
        async with running.connect() as alice:
            welcome = await alice.hello("alice", generation=2, **position)
            assert (welcome["outcome"], welcome["reason"]) == ("snapshot", "expired")
            await alice.events(300 - welcome["afterSequence"])
        return outcome


SMALL_WINDOW = ServerConfig(events_kept_max=10, snapshot_interval_events=5, appends_pending_max=10, slow_reader_timeout_s=3600)
CASES = {
    "frameBytesMax": Case(
        Limit.FRAME_BYTES, 4096, Outcome(4413), a_frame_too_large, {"protocol": ServerConfig(frame_bytes_max=4096)}
    ),
    "bodyBytesMax": Case(Limit.BODY_BYTES, 1000, Outcome(4413, 413), a_body_too_large, {"door": DoorLimits(body_bytes_max=1000)}),
    "publishesPerS": Case(
        Limit.PUBLISH_RATE,
        2,
        Outcome("rate", retry_after_s=0.5),
        publishes_too_fast,
        {"protocol": ServerConfig(publishes_per_s=2, publish_burst=4)},
    ),
    "unansweredMax": Case(
        Limit.UNANSWERED,
        4,
        Outcome("too_many_unanswered"),
        publishes_without_an_answer,
        {"protocol": ServerConfig(unanswered_max=4), "store": LateStore},
    ),
    "connectionsPerUserMax": Case(
        Limit.USER_CONNECTIONS, 2, Outcome(4030), a_connection_of_one_user_too_many, {"connections_per_user_max": 2}
    ),
    "connectionsMax": Case(
        Limit.DOOR_CONNECTIONS,
        2,
        Outcome(4030, 503, 7),
        a_connection_too_many,
        {"door": DoorLimits(connections_max=2, retry_after_ms=7000)},
    ),
    "loadedRunsMax": Case(
        Limit.LOADED_RUNS, 1, Outcome(4030, 503, 5), a_run_in_memory_too_many, {"loaded_runs_max": 1, "runs": (RUN, OTHER_RUN)}
    ),
    "runsPerUserPerMinuteMax": Case(
        Limit.RUN_CREATIONS, 3, Outcome(4029, 429, 20), a_run_made_too_many, {"runs_per_user_per_minute_max": 3}
    ),
    "helloTimeoutMs": Case(Limit.HELLO_TIME, 3000, Outcome(4003), no_first_frame, {"protocol": ServerConfig(hello_timeout_s=3)}),
    "headTimeoutMs": Case(
        Limit.HEAD_TIME, 5000, Outcome(4008, 408), a_head_that_stands_still, {"door": DoorLimits(head_timeout_s=5)}
    ),
    "silenceMaxMs": Case(
        Limit.SILENCE, 20_000, Outcome(4003), a_client_that_falls_silent, {"protocol": ServerConfig(silence_max_s=20)}
    ),
    "slowReaderTimeoutMs": Case(
        Limit.SLOW_READER, 5000, Outcome(4008), a_reader_that_takes_nothing, {"protocol": ServerConfig(slow_reader_timeout_s=5)}
    ),
    "eventsKeptMax": Case(Limit.OFFLINE_WINDOW, 10, Outcome(4008), events_beyond_the_window, {"protocol": SMALL_WINDOW}),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_limit_is_reported_and_a_peer_that_reaches_it_gets_the_reason(name: str, autojump_clock: MockClock) -> None:
    case = CASES[name]
    settings = {key: value() if key == "store" else value for key, value in case.settings.items()}
    async with a_server(**settings) as (running, bob):
        assert bob.received[0]["limits"][name] == case.value
        assert await case.reach(running, bob) == case.outcome
        assert reached(running, case.limit) == 1
    (row,) = [
        row for row in document.table(document.under("Limits", document.page("operations.md"))) if row[0] == case.limit.value
    ]
    assert row[3] == name
    assert {str(case.outcome.code), str(case.outcome.status or case.outcome.code)} <= set(
        row[4].replace(",", "").replace(";", "").split()
    )
    assert ("Retry-After" in row[4]) == (case.outcome.status is not None and case.outcome.retry_after_s is not None)


def test_every_limit_of_a_welcome_has_its_case() -> None:
    assert set(CASES) == set(Limits.__struct_encode_fields__)


def test_a_server_of_before_tells_the_first_three() -> None:
    outcome = b'{"frameBytesMax":2048,"unansweredMax":64,"publishesPerS":200}'
    assert msgspec.json.decode(outcome, type=Limits) == Limits(2048, 64, 200.0)
    assert msgspec.json.encode(Limits(2048, 64, 200.0)) == outcome.replace(b"200", b"200.0")


async def test_a_server_as_it_is_shipped_tells_its_defaults(autojump_clock: MockClock) -> None:
    settings = ServerSettings()
    async with a_server() as (_, bob):
        assert bob.received[0]["limits"] == {
            "frameBytesMax": settings.protocol.frame_bytes_max,
            "unansweredMax": settings.protocol.unanswered_max,
            "publishesPerS": settings.protocol.publishes_per_s,
            "bodyBytesMax": settings.door.body_bytes_max,
            "connectionsPerUserMax": settings.connections_per_user_max,
            "connectionsMax": settings.door.connections_max,
            "loadedRunsMax": settings.loaded_runs_max,
            "runsPerUserPerMinuteMax": settings.runs_per_user_per_minute_max,
            "helloTimeoutMs": 1000 * settings.protocol.hello_timeout_s,
            "headTimeoutMs": 1000 * settings.door.head_timeout_s,
            "silenceMaxMs": 1000 * settings.protocol.silence_max_s,
            "slowReaderTimeoutMs": 1000 * settings.protocol.slow_reader_timeout_s,
            "eventsKeptMax": settings.protocol.events_kept_max,
        }
