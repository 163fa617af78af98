"""The admin API of several processes: each process reports on all, and names those that do not answer."""

import json
from typing import Any

import pytest
import trio

from reference.server.cluster.admin import ANSWER_S_MAX
from reference.server.cluster.router import RELAYED
from reference.store import parse_url
from reference.store.ownership import Ownership

from .running_server import OTHER_RUN, RUN, RunningServer
from .two_servers import running_server_on, two_servers

ADMIN = "/api/admin/websocket"


async def reported(running: RunningServer, path: str, method: str = "GET", *, status: int = 200, headers: str = "") -> Any:
    answer = await running.ask(method, ADMIN + path, token="dev-admin:root", headers=headers)
    assert answer.status == status, answer
    return json.loads(answer.body)


async def test_either_process_tells_of_both(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two):
            await two.server.create_run(OTHER_RUN)
            async with one.join("ada") as ada, two.join("bob", OTHER_RUN) as bob, two.join("carol"):  # carol is relayed
                for running in (one, two):
                    connections = await reported(running, "/connections")
                    assert connections["totalConnections"] == 3
                    assert connections["connectionsPerRun"] == {RUN: 2, OTHER_RUN: 1}
                    assert {each["userId"] for each in connections["connections"]} == {"ada", "bob", "carol"}
                    assert "processesSilent" not in connections
                    metrics = await reported(running, "/metrics?userId=bob")
                    assert (metrics["totalSessions"], metrics["sessions"][0]["runId"]) == (1, OTHER_RUN)
                    for client, name in ((ada, "ada"), (bob, "bob")):
                        session = await reported(running, f"/metrics/{client.received[0]['sessionId']}")
                        assert session["userId"] == name
                    await reported(running, "/metrics/nobody", status=404)
            for running in (one, two):
                assert (await reported(running, "/metrics"))["totalSessions"] == 3
            assert await reported(two, "/cleanup-stale?maxAgeMs=0", "POST") == {"removed": 3, "remaining": 0}
            assert (await reported(one, "/metrics"))["totalSessions"] == 0


async def test_a_body_that_nobody_reads_does_not_silence_the_others(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, _):
            answer = await one.ask("POST", f"{ADMIN}/cleanup-stale", b"{}", token="dev-admin:root")
            assert json.loads(answer.body) == {"removed": 0, "remaining": 0}


async def test_paging_shows_everything_once(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two):
            await two.server.create_run(OTHER_RUN)
            async with one.join("a1"), one.join("a2"), one.join("a3"), two.join("b1", OTHER_RUN):
                users: list[str] = []
                for offset in range(10):
                    page = await reported(two, f"/connections?limit=1&offset={offset}")
                    users += [each["userId"] for each in page["connections"]]
                    if not page["hasMore"]:
                        break
                assert sorted(users) == ["a1", "a2", "a3", "b1"]


@pytest.mark.slow
async def test_a_process_that_does_not_answer_is_named_and_not_waited_for(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, _), one.join("ada") as ada:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]  # the kernel connects, and nobody ever answers
            url = parse_url(postgres_url)
            assert url is not None
            ownership = Ownership(url)
            try:
                await ownership.join("127.0.0.1", port)
                since = trio.current_time()
                connections = await reported(one, "/connections")
                assert trio.current_time() - since < ANSWER_S_MAX + 1
                assert connections["totalConnections"] == 1
                assert connections["processesSilent"] == [f"127.0.0.1:{port}"]
                assert (await reported(one, f"/metrics/{ada.received[0]['sessionId']}"))["userId"] == "ada"
                missing = await reported(one, "/metrics/nobody", status=404)
                assert f"127.0.0.1:{port} did not answer" in missing["message"]
            finally:
                await ownership.aclose()
                for listener in listeners:
                    await listener.aclose()
            assert "processesSilent" not in await reported(one, "/connections"), "it has left"


async def test_who_asks_on_behalf_of_another_process_has_to_know_our_secret(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, _):
            refused = await reported(one, "/connections", status=421, headers=f"{RELAYED.decode()}: guessed\r\n")
            assert refused["code"] == 4030


async def test_without_the_role_no_other_process_is_asked(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, _):
            for path in ("/connections", "/metrics", "/metrics/x"):
                assert (await one.ask("GET", ADMIN + path, token="dev:ada")).status == 403
                assert (await one.ask("GET", ADMIN + path, token=None)).status == 401


async def test_a_session_that_cannot_be_closed_is_not_called_unknown(postgres_url: str) -> None:
    """It polls, at one process; the other had never heard of it, and said only that."""
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two):
            await one.poll("clientId=bob&generation=1", token="dev:bob")
            session_id = (await reported(one, "/metrics?userId=bob"))["sessions"][0]["sessionId"]
            for running in (one, two):
                refused = await reported(running, f"/sessions/{session_id}/close", "POST", status=409)
                assert "has no WebSocket now" in refused["message"]
                await reported(running, "/sessions/nobody/close", "POST", status=404)


async def test_a_process_that_takes_other_tokens_is_named(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with (
            running_server_on(postgres_url) as one,
            running_server_on(postgres_url, secret=b"0123456789abcdef0123456789abcdef") as two,
        ):
            assert (await reported(one, "/connections"))["processesSilent"] == [f"127.0.0.1:{two.server.port}"]
