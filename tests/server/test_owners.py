"""A run changes its owner: it becomes idle, or its owner stops, is cut off, is silent, or fails."""

import json
from functools import partial

import pytest
import trio
from postgres_server import execute
from sqlalchemy.engine import make_url

from reference.protocol.config import ServerConfig
from reference.protocol.metrics import RELAY_FAILURES
from reference.server.cluster import upgrade_relay
from reference.store.ownership import Ownership

from .running_server import RUN, RunningServer
from .test_http import POLL, chat
from .two_servers import on_database, running_server_on, two_servers

pytestmark = pytest.mark.slow  # each opens two servers and waits for what only a real database does

LEASES = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
)


def numbers(url: str) -> list[int]:
    rows = execute(url, "SELECT sequence_number FROM persisted_collaboration_messages ORDER BY 1")
    return [int(str(number)) for (number,) in rows]


async def until_owner(running: RunningServer, other: RunningServer) -> None:
    """Ask `running` for the run until it serves it itself."""
    while running.server.statistics().runs_loaded == 0:
        await running.ask("GET", f"{POLL}?afterSequence=0")
    assert other.server.statistics().runs_loaded == 0


async def test_an_owner_that_stops_closes_its_clients_and_gives_up_its_runs(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as two, running_server_on(postgres_url) as one:
            await one.server.create_run(RUN)
            async with one.join("ada") as ada, two.join("bob") as bob:
                await ada.publish(1)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.server.stop)
                    for client in (ada, bob):
                        assert (await client.receive("goaway"))["code"] == 4001
                        assert (await client.closed())[0] == 4001
            async with two.join("ada", generation=2) as ada:
                assert two.server.statistics().runs_loaded == 1
                assert (await ada.publish(1))["duplicate"] is True
                assert (await ada.publish(2))["sequenceNumber"] == 2


async def test_a_process_that_relays_and_stops_sends_its_own_clients_away_only(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as one, running_server_on(postgres_url) as two:
            await one.server.create_run(RUN)
            async with one.join("ada") as ada:
                async with two.join("bob") as bob:
                    await bob.publish(1)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(two.server.stop)
                        assert (await bob.receive("goaway"))["code"] == 4001
                        assert (await bob.closed())[0] == 4001
                await ada.publish(1)
                assert [event["userId"] for event in await ada.events(2)] == ["bob", "ada"]


async def test_an_idle_run_may_be_served_by_the_next_process_that_gets_a_request(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url, protocol=ServerConfig(run_idle_s=0.05)) as (one, two):
            async with one.join("ada") as ada:
                await ada.publish(1)
                await ada.send("bye")
            while await on_database(postgres_url, "SELECT * FROM collaboration_owners"):
                pass
            async with two.join("bob") as bob:
                assert (await bob.publish(1))["sequenceNumber"] == 2
                assert two.server.statistics().runs_loaded == 1


async def test_an_owner_that_is_cut_off_drops_its_runs_at_once(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada, two.join("bob") as bob:
            await ada.publish(1)
            assert await on_database(postgres_url, LEASES) == [(2,)]
            for client in (ada, bob):
                assert (await client.closed())[0] in (4030, None)
            await until_owner(two, one)
            async with one.join("ada", generation=2) as ada:  # it is in again, and relays
                assert (await ada.publish(2))["sequenceNumber"] == 2
                assert one.server.statistics().runs_loaded == 0


async def test_an_owner_that_has_been_silent_for_too_long_is_given_up(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            await ada.publish(1)
            ago = "UPDATE collaboration_processes p SET seen_at = now() - interval '1 min' FROM collaboration_owners o"
            await on_database(postgres_url, f"{ago} WHERE o.process_id = p.process_id")
            async with two.join("bob") as bob:
                assert two.server.statistics().runs_loaded == 1
                assert (await bob.publish(1))["sequenceNumber"] == 2
            assert (await ada.closed())[0] == 4030


async def test_two_that_both_believe_to_be_the_owner_do_no_harm(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            await ada.publish(1)
            await on_database(postgres_url, "DELETE FROM collaboration_owners")
            async with two.join("bob") as bob:
                assert two.server.statistics().runs_loaded == 1
                assert (await bob.publish(1))["sequenceNumber"] == 2
                await ada.send("publish", clientSequence=2, eventType="CHAT", data={})
                assert (await ada.closed())[0] == 4030
                async with one.join("ada", generation=2) as ada_again:
                    assert (await ada_again.publish(2))["sequenceNumber"] == 3
                    assert [event["sequenceNumber"] for event in await bob.events(3)] == [1, 2, 3]
            assert await trio.to_thread.run_sync(numbers, postgres_url) == [1, 2, 3]


async def test_an_owner_that_cannot_be_reached(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.server.cluster.upgrade_relay.REACH_S_MAX", 0.1)
    monkeypatch.setattr("reference.server.cluster.request_relay.REACH_S_MAX", 0.1)
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as running:
            await running.server.create_run(RUN)
            other = Ownership(make_url(postgres_url))
            try:
                await other.join("127.0.0.1", 1)
                assert await other.claim(RUN) is None
                page = "http://127.0.0.1:3000"
                answer = await running.ask("GET", f"{POLL}?afterSequence=0", headers=f"Origin: {page}\r\n")
                assert (answer.status, json.loads(answer.body)["code"]) == (503, 4030)
                assert b"cannot be reached" in answer.body
                assert answer.headers["access-control-allow-origin"] == page, "or a page of another origin cannot read it"
                sent_away = f"/api/admin/websocket/runs/{RUN}/send-away"
                assert (await running.ask("POST", sent_away, b"{}", token="dev-admin:root")).status == 503
                body = json.dumps({"clientId": "ada", "messages": [chat(1)]}).encode()
                published = None

                async def publish() -> None:
                    nonlocal published
                    published = await running.ask("POST", f"/api/runs/{RUN}/collaboration/publish", body, token="dev:ada")

                monkeypatch.setattr("reference.server.cluster.request_relay.REACH_S_MAX", 10.0)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(publish)  # looks for the owner, until we are it
                    await trio.sleep(0.1)
                    await other.leave()
                assert published is not None
                assert published.status == 200
            finally:
                await other.aclose()


async def test_an_owner_that_accepts_connections_and_never_answers(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_relay, "REACH_S_MAX", 0.1)
    monkeypatch.setattr(upgrade_relay, "ANSWER_S_MAX", 0.1)
    with trio.fail_after(60):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listeners[0].socket.getsockname()[1]
        async with running_server_on(postgres_url) as running:
            await running.server.create_run(RUN)
            other = Ownership(make_url(postgres_url))
            try:
                await other.join("127.0.0.1", port)
                assert await other.claim(RUN) is None
                async with running.connect(headers=[("Authorization", "Bearer dev:ada")]) as client:
                    assert (await client.closed())[0] == 4030
                async with running.connect() as client:
                    await client.send("hello", protocol=1, clientId="ada", token="dev:ada")
                    assert (await client.closed())[0] == 4030
            finally:
                await other.aclose()
        for listener in listeners:
            await listener.aclose()


@pytest.mark.parametrize(("status", "failures"), [(b"429 Too Many Requests", 0), (b"503 Service Unavailable", 0), (b"200 OK", 1)])
async def test_an_owner_that_refuses_an_upgrade_is_no_failure_of_the_relay(
    postgres_url: str, status: bytes, failures: int
) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    with trio.fail_after(60):
        async with running_server_on(postgres_url) as running, trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            await running.server.create_run(RUN)
            other = Ownership(make_url(postgres_url))
            try:
                await other.join("127.0.0.1", listener.socket.getsockname()[1])
                assert await other.claim(RUN) is None
                async with running.connect(headers=[("Authorization", "Bearer dev:ada")]) as client:
                    assert (await client.closed())[0] == 4030
                assert running.server.monitor.metrics.value(RELAY_FAILURES) == failures
            finally:
                await other.aclose()
            nursery.cancel_scope.cancel()
