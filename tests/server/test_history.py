"""Replay and history over HTTP: pages without a gap between them, and correct totals."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig

from .running_server import ORIGIN_NS, RUN, RunningServer, running_server

EVENTS = f"/api/runs/{RUN}/collaboration/events"
REPLAY = f"/api/runs/{RUN}/collaboration/replay"
SECOND_MS = ORIGIN_NS // 10**6


@asynccontextmanager
async def a_server_with_events() -> AsyncIterator[RunningServer]:
    """Thirty events, one per second: every third a FLAG, every fifth a GRAFT; alice made the even ones."""
    async with running_server() as running:
        for number in range(1, 31):
            kind, data = ("FLAG", {}) if number % 3 == 0 else ("GRAFT", {"position": "p"}) if number % 5 == 0 else ("CHAT", {})
            user = "alice" if number % 2 == 0 else "bob"
            message = {"clientSequence": (number + 1) // 2, "eventType": kind, "data": data}
            await trio.sleep(1)
            await running.post([message], client_id=user, token=f"dev:{user}")
        yield running


async def ask(running: RunningServer, path: str, query: str, status: int = 200) -> Any:
    answer = await running.ask("GET", f"{path}?{query}")
    assert answer.status == status, answer
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", list(range(1, 31))),
        ("criticalOnly=true", [3, 5, 6, 9, 10, 12, 15, 18, 20, 21, 24, 25, 27, 30]),
        ("eventType=GRAFT", [5, 10, 20, 25]),
        ("eventType=GRAFT&eventType=FLAG", [3, 5, 6, 9, 10, 12, 15, 18, 20, 21, 24, 25, 27, 30]),
        ("eventType=NONE", []),
        ("userId=alice&eventType=FLAG", [6, 12, 18, 24, 30]),
        ("fromSequence=28", [28, 29, 30]),
        ("fromSequence=5&toSequence=7", [5, 6, 7]),
        ("fromSequence=7&toSequence=5", []),
        ("fromSequence=1000", []),
        (f"fromTime={SECOND_MS + 28_000}", [28, 29, 30]),
        (f"toTime={SECOND_MS + 2_000}", [1, 2]),
        (f"fromTime={SECOND_MS + 10_000}&toTime={SECOND_MS + 12_500}&criticalOnly=true", [10, 12]),
        (f"fromTime={SECOND_MS + 10_000}&toTime={SECOND_MS}", []),
    ],
)
async def test_what_is_asked_for_must_all_hold(autojump_clock: MockClock, query: str, numbers: list[int]) -> None:
    async with a_server_with_events() as running:
        seen = await ask(running, EVENTS, query)
        assert [event["sequenceNumber"] for event in seen["events"]] == numbers
        assert (seen["totalEvents"], seen["hasMore"], seen["nextSequence"]) == (len(numbers), False, None)
        assert (seen["oldest"], seen["head"]) == (1, 30)


@pytest.mark.parametrize("path", [EVENTS, REPLAY])
async def test_pages_meet_without_a_gap_and_end(autojump_clock: MockClock, path: str) -> None:
    async with a_server_with_events() as running:
        whole = await ask(running, path, "criticalOnly=true")
        pages, query = [], "criticalOnly=true&limit=4"
        first = await ask(running, path, query)
        assert first["totalEvents"] == 14
        page = first
        while True:
            pages += page["events"]
            if not page["hasMore"]:
                break
            page = await ask(running, path, f"{query}&fromSequence={page['nextSequence']}")
        assert pages == whole["events"]
        assert page["nextSequence"] is None


async def test_replay_from_a_number_may_be_of_critical_events_only(autojump_clock: MockClock) -> None:
    async with a_server_with_events() as running:
        assert [event["sequenceNumber"] for event in (await ask(running, REPLAY, "fromSequence=25"))["events"]] == [
            *range(25, 31)
        ]
        seen = await ask(running, REPLAY, "fromSequence=25&criticalOnly=true")
        assert [event["sequenceNumber"] for event in seen["events"]] == [25, 27, 30]
        assert (await ask(running, REPLAY, "criticalOnly=false"))["totalEvents"] == 30


async def test_history_begins_at_the_oldest_kept_event_and_reports_it(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=10, snapshot_interval_events=5, appends_pending_max=10)
    async with running_server(protocol=config) as running:
        for first in range(1, 401, 10):
            await running.post([{"clientSequence": first + n, "eventType": "CHAT", "data": {}} for n in range(10)])
        seen = await ask(running, EVENTS, "limit=1000")
        assert seen["oldest"] == 391
        assert [event["sequenceNumber"] for event in seen["events"]] == list(range(391, 401))
        assert seen["totalEvents"] == 10


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "fromSequence=-1",
        "criticalOnly=perhaps",
        "eventType=",
        "userId=",
        "fromTime=yesterday",
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(autojump_clock: MockClock, query: str) -> None:
    async with running_server() as running:
        problem = await ask(running, EVENTS, query, 400)
        assert problem["message"].startswith(f"parameter {query.partition('=')[0]}: ")
