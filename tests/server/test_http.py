"""A run over HTTP, in virtual time: polls, publishes, replay, creation, and bad requests."""

import json
from typing import Any
from urllib.parse import quote

import pytest
import trio
from trio.testing import MockClock

from reference.client.http import read_refusal
from reference.protocol import frames
from reference.protocol.config import ServerConfig
from reference.protocol.errors import Reaction, reaction_to
from reference.protocol.metrics import FAILED_ATTEMPTS, FALLBACKS
from reference.protocol.server.run import Run

from .running_server import OTHER_RUN, RUN, Message, request_bytes, running_server

PUBLISH = f"/api/runs/{RUN}/collaboration/publish"
POLL = f"/api/runs/{RUN}/collaboration/poll"
REPLAY = f"/api/runs/{RUN}/collaboration/replay"


def chat(number: int, text: str = "") -> Message:
    return {"clientSequence": number, "eventType": "CHAT", "data": {"text": text}}


def graft(number: int) -> Message:
    return {"clientSequence": number, "eventType": "GRAFT", "data": {"position": f"p{number}"}}


async def test_a_poll_brings_what_a_websocket_publishes_and_the_other_way_round(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        await bob.publish(1, "over WebSocket")
        answer = await running.poll("afterSequence=0")
        assert answer["outcome"] == "resumed"
        assert answer["events"] == await bob.events(1)
        published = await running.post([chat(1, "over HTTP"), chat(2)])
        assert [result["sequenceNumber"] for result in published["results"]] == [2, 3]
        assert (await bob.events(3))[1]["data"] == {"text": "over HTTP"}


async def test_the_same_publish_over_both_transports_is_stored_once(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        async with running.join("alice") as alice:
            assert (await alice.publish(1))["sequenceNumber"] == 1
        published = await running.post([chat(1), chat(2)])
        assert published["results"] == [
            {"type": "accepted", "clientSequence": 1, "sequenceNumber": 1, "duplicate": True},
            {"type": "accepted", "clientSequence": 2, "sequenceNumber": 2},
        ]
        async with running.join("alice", generation=2) as alice:
            assert (await alice.publish(2))["duplicate"] is True
        assert (await running.poll("afterSequence=0"))["head"] == 2


async def test_a_large_publish_is_taken_in_pieces_and_answered_as_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MiB in one turn of the run delayed everybody else by 28 ms."""
    taken_bytes: list[int] = []
    receive = Run.receive_frames

    def note(run: Run, connection_id: int, messages: Any, now: int, others: int = 0) -> None:
        requests = [message for message in messages if isinstance(message, frames.PublishRequest)]
        taken_bytes.extend(sum(len(frames.encode(each)) for each in request.messages) for request in requests)
        receive(run, connection_id, messages, now, others)

    monkeypatch.setattr(Run, "receive_frames", note)
    async with running_server() as running, running.join("alice") as alice:
        messages = [chat(number, "x" * 60_000) for number in range(1, 17)]
        answer = await running.post(messages, client_id="carol", token="dev:carol", cursor={"line": 1})
        assert [(each["clientSequence"], each["sequenceNumber"]) for each in answer["results"]] == [(n, n) for n in range(1, 17)]
        assert answer["epoch"] == alice.received[0]["epoch"]
        assert len(taken_bytes) == 4
        assert max(taken_bytes) < 300_000
        await alice.events(16)
        assert alice.numbers_received() == list(range(1, 17))
        again = await running.post(messages, client_id="carol", token="dev:carol")
        assert all(each["duplicate"] for each in again["results"])
        body = json.dumps({"clientId": "carol", "messages": [*messages, chat(16)]}).encode()
        refused = await running.ask("POST", PUBLISH, body, token="dev:carol")
        assert (refused.status, refused.problem["code"]) == (400, 4400)


async def test_a_long_poll_is_answered_when_something_comes(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        answers: list[Message] = []

        async def poll() -> None:
            answers.append(await running.poll("afterSequence=0&waitMs=25000"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            await trio.sleep(7)
            assert not answers
            await bob.publish(1)
        assert len(answers[0]["events"]) == 1
        assert trio.current_time() < 8


async def test_a_long_poll_with_nothing_to_bring_is_answered_in_time(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        answer = await running.poll("afterSequence=0&waitMs=20000")
        assert answer["events"] == []
        assert abs(trio.current_time() - 20) < 0.01


async def test_a_client_that_leaves_its_long_poll_is_forgotten(autojump_clock: MockClock) -> None:
    async with running_server(protocol=ServerConfig(run_idle_s=5)) as running:
        stream = running.server.connect()
        await stream.send_all(request_bytes("GET", f"{POLL}?afterSequence=0&waitMs=25000", token="dev:alice"))
        await trio.sleep(1)
        stream.abort()
        await trio.sleep(10)
        assert running.server.statistics().connections == 0
        assert running.server.statistics().runs_loaded == 0


async def test_a_polling_client_is_present_and_counted_as_fallen_back(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        answer = await running.poll("clientId=alice&afterSequence=0")
        assert answer["sessionId"]
        await bob.until_present("alice", "bob")
        assert running.server.monitor.metrics.value(FALLBACKS, reason="unknown") == 1


async def test_a_polling_client_reports_how_it_fares(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        report = quote('{"failedAttempts":5,"queuedMessages":2,"recoveries":[{"recoveryMs":7000,"silenceMs":4000}]}')
        await running.poll(f"clientId=alice&report={report}")
        record = running.server.monitor.sessions.find(RUN, "alice")
        assert record is not None
        assert (record.failed_attempts, record.queued) == (5, 2)
        assert running.server.monitor.metrics.value(FAILED_ATTEMPTS) == 5
        await running.poll("clientId=alice")
        assert (record.failed_attempts, record.queued) == (5, 0)
        await running.poll(f"report={report}")
        assert running.server.monitor.metrics.value(FAILED_ATTEMPTS) == 5, "who does not take part has nothing to report"


async def test_replay_is_ascending_and_honest_about_its_ends(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for first in range(1, 101, 50):
            await running.post([graft(n) if n % 10 == 0 else chat(n) for n in range(first, first + 50)])
        page = (await running.ask("GET", f"{REPLAY}?fromSequence=21&limit=30")).problem
        assert [event["sequenceNumber"] for event in page["events"]] == list(range(21, 51))
        assert (page["totalEvents"], page["head"], page["hasMore"], page["oldest"]) == (80, 100, True, 1)
        rest = (await running.ask("GET", f"{REPLAY}?fromSequence=51")).problem
        assert [event["sequenceNumber"] for event in rest["events"]] == list(range(51, 101))
        assert rest["hasMore"] is False
        critical = (await running.ask("GET", REPLAY)).problem
        assert [event["sequenceNumber"] for event in critical["events"]] == list(range(10, 101, 10))
        assert (critical["totalEvents"], critical["hasMore"]) == (10, False)
        some = (await running.ask("GET", f"{REPLAY}?limit=3")).problem
        assert (len(some["events"]), some["totalEvents"], some["hasMore"]) == (3, 10, True)
        beyond = (await running.ask("GET", f"{REPLAY}?fromSequence=5000")).problem
        assert (beyond["events"], beyond["totalEvents"], beyond["hasMore"]) == ([], 0, False)


async def test_replay_says_where_what_is_kept_begins(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=50, snapshot_interval_events=10, appends_pending_max=50)
    async with running_server(protocol=config) as running:
        for first in range(1, 401, 50):
            await running.post([chat(n) for n in range(first, first + 50)])
        page = (await running.ask("GET", f"{REPLAY}?fromSequence=1")).problem
        numbers = [event["sequenceNumber"] for event in page["events"]]
        assert numbers == list(range(page["oldest"], 401))
        assert page["oldest"] == 351
        assert page["totalEvents"] == 50


async def test_a_large_replay_is_cut_and_says_so(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        for number in range(1, 121):
            await bob.publish(number, "x" * 60_000)
        first = (await running.ask("GET", f"{REPLAY}?fromSequence=1")).problem
        assert first["hasMore"] is True
        assert 60 <= len(first["events"]) < 75
        last = first["events"][-1]["sequenceNumber"]
        second = (await running.ask("GET", f"{REPLAY}?fromSequence={last + 1}")).problem
        assert second["events"][0]["sequenceNumber"] == last + 1
        assert second["hasMore"] is False


async def test_put_makes_a_run_once(autojump_clock: MockClock) -> None:
    async with running_server(runs=()) as running:
        made = await running.ask("PUT", f"/api/runs/{RUN.upper()}")
        assert (made.status, made.problem) == (201, {"runId": RUN})
        again = await running.ask("PUT", f"/api/runs/{RUN}")
        assert (again.status, again.problem) == (200, {"runId": RUN})
        assert (await running.poll())["epoch"]


BAD_REQUESTS = [
    ("GET", f"{POLL}?afterSequence=-1", b"", 400, 4400, "afterSequence"),
    ("GET", f"{POLL}?afterSequence=x", b"", 400, 4400, "afterSequence"),
    ("GET", f"{POLL}?waitMs=26000", b"", 400, 4400, "waitMs"),
    ("GET", f"{POLL}?clientId=a%20b", b"", 400, 4400, "clientId"),
    ("GET", f"{POLL}?start=middle", b"", 400, 4400, "start"),
    ("GET", f"{POLL}?generation=0", b"", 400, 4400, "generation"),
    ("GET", f"{POLL}?report=x", b"", 400, 4400, "report"),
    ("GET", f"{POLL}?report=%ff", b"", 400, 4400, "report"),
    ("GET", f"{POLL}?report={'[' * 10_000}", b"", 400, 4400, "report"),
    ("GET", f'{POLL}?report={{"gaps":-1}}', b"", 400, 4400, "report"),
    ("GET", f"{REPLAY}?limit=1001", b"", 400, 4400, "limit"),
    ("GET", f"{REPLAY}?limit=0", b"", 400, 4400, "limit"),
    ("GET", f"{REPLAY}?fromSequence=-1", b"", 400, 4400, "fromSequence"),
    ("POST", PUBLISH, b"", 400, 4400, "JSON"),
    ("POST", PUBLISH, b"[]", 400, 4400, "object"),
    ("POST", PUBLISH, b'{"clientId":"c","messages":[{"clientSequence":0}]}', 400, 4400, "clientSequence"),
    ("POST", PUBLISH, b'{"messages":[]}', 400, 4400, "clientId"),
    ("POST", PUBLISH, b"[" * 100_000, 400, 4400, ""),
    ("POST", PUBLISH, b'{"clientId":"\xff"}', 400, 4400, ""),
    ("POST", PUBLISH, b"x" * (1024 * 1024 + 1), 413, 4413, "1048576"),
    ("POST", PUBLISH, json.dumps({"clientId": "c", "messages": [chat(1), chat(1)]}).encode(), 400, 4400, "clientSequence"),
    ("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll", b"", 404, 4404, OTHER_RUN),
    ("GET", f"/api/runs/{OTHER_RUN}/collaboration/replay", b"", 404, 4404, OTHER_RUN),
    ("GET", "/api/runs/garbage/collaboration/poll", b"", 404, 4404, "UUID"),
    ("GET", "/api/runs/%00/collaboration/poll", b"", 404, 4404, "UUID"),
    ("PUT", "/api/runs/garbage", b"", 404, 4404, "UUID"),
    ("GET", "/nowhere", b"", 404, 4404, "/nowhere"),
    ("DELETE", POLL, b"", 405, 4400, ""),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "names"), BAD_REQUESTS)
async def test_a_bad_request_gets_one_clear_problem_and_affects_no_other_client(
    method: str, path: str, body: bytes, status: int, code: int, names: str, autojump_clock: MockClock
) -> None:
    async with running_server() as running, running.join("bob") as bob:
        answer = await running.ask(method, path, body)
        assert (answer.status, answer.problem["code"]) == (status, code)
        assert names in answer.problem["message"]
        assert (await bob.publish(1))["type"] == "accepted"


async def test_without_a_right_token_nothing_is_revealed(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for token in (None, "garbage", "dev:"):
            for method, path in (("GET", POLL), ("GET", REPLAY), ("POST", PUBLISH), ("PUT", f"/api/runs/{OTHER_RUN}")):
                answer = await running.ask(method, path, token=token)
                assert (answer.status, answer.problem["code"]) == (401, 4401)
                assert answer.headers["www-authenticate"] == "Bearer"
        answer = await running.ask("GET", POLL, token=None, headers="Authorization: Basic YTpi\r\n")
        assert (answer.status, answer.problem["code"]) == (401, 4401)


async def test_an_older_generation_is_closed_as_superseded(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice", generation=5):
        body = json.dumps({"clientId": "alice", "generation": 4, "messages": [chat(1)]}).encode()
        answer = await running.ask("POST", PUBLISH, body)
        assert (answer.status, answer.problem["code"]) == (409, 4101)


async def test_a_page_of_this_machine_may_read_the_answers(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        good = await running.ask("GET", POLL, headers="Origin: http://localhost:3000\r\n")
        assert good.status == 200
        assert good.headers["access-control-allow-origin"] == "http://localhost:3000"
        asked = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n"
        preflight = await running.ask("OPTIONS", PUBLISH, token=None, headers=asked)
        assert preflight.status == 204
        assert "authorization" in preflight.headers["access-control-allow-headers"]


async def test_probes_and_metrics_need_no_token(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        await bob.publish(1)
        assert (await running.ask("GET", "/healthz", token=None)).problem == {"status": "alive"}
        assert (await running.ask("GET", "/readyz", token=None)).problem == {"status": "ready"}
        plain = await running.ask("GET", "/metrics", token=None)
        assert plain.headers["content-type"].startswith("text/plain")
        openmetrics = await running.ask("GET", "/metrics", token=None, headers="Accept: application/openmetrics-text\r\n")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics.body.endswith(b"# EOF\n")
        assert b"orchestrator_websocket_connections_total 1.0" in plain.body
        assert b"_created" not in plain.body


@pytest.mark.parametrize(
    "headers",
    ["", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"],
    ids=["nothing is left of it", "Connection: Upgrade is missing"],
)
async def test_an_upgrade_that_a_proxy_has_spoilt_does_not_end_the_session(headers: str, autojump_clock: MockClock) -> None:
    """It was answered with 4404, or 4400, which mean: never come back. So behind such a proxy nobody fell back to polling."""
    async with running_server() as running:
        answer = await running.ask("GET", f"/ws/runs/{RUN}/collaboration", headers=headers)
    assert (answer.status, answer.problem["code"], answer.headers["upgrade"]) == (426, 1002, "websocket")
    refusal = read_refusal(answer.status, (), answer.body)
    assert reaction_to(refusal.code) is Reaction.RESUME


async def test_a_query_with_very_many_parameters_is_refused_unread(autojump_clock: MockClock) -> None:
    """Eight thousand, which the head has room for, took 13 ms and counted as one request."""
    async with running_server() as running:
        refused = await running.ask("GET", f"{POLL}?{'&'.join(['x'] * 5000)}")
        assert (refused.status, refused.problem["code"]) == (400, 4400)
        assert (await running.ask("GET", f"{POLL}?afterSequence=0&{'&'.join(['x'] * 50)}")).status == 200
