"""A run that another process serves looks to a client the same as a run of the process that it connected to."""

import json
from collections.abc import Sequence

import httpcore
import pytest
import trio

from reference.protocol.errors import ConfigError
from reference.protocol.metrics import PROBLEMS
from reference.protocol.records import Append
from reference.server import app
from reference.server.cluster.request_relay import connection_pool
from reference.server.settings import ServerSettings, split_address
from reference.store import StoreError, ownership
from reference.store.sql import SqlStore

from .running_server import RUN, RunningServer, request_bytes
from .test_http import POLL, PUBLISH, REPLAY, chat
from .two_servers import running_server_on, two_servers
from .wire.helpers import Answer, read_answer


async def test_events_and_presence_cross_in_both_directions(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada, two.join("bob") as bob:
            assert (await ada.publish(1, "from one"))["sequenceNumber"] == 1
            assert (await bob.publish(1, "from two"))["sequenceNumber"] == 2
            for client in (ada, bob):
                assert [event["data"]["text"] for event in await client.events(2)] == ["from one", "from two"]
                await client.until_present("ada", "bob")
            assert (one.server.statistics().runs_loaded, two.server.statistics().runs_loaded) == (1, 0)


async def test_requests_cross_too(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            body = json.dumps({"clientId": "carol", "messages": [chat(1, "over HTTP"), chat(2)]}).encode()
            answer = await two.ask("POST", PUBLISH, body, token="dev:carol")
            assert [result["sequenceNumber"] for result in json.loads(answer.body)["results"]] == [1, 2]
            assert [event["userId"] for event in await ada.events(2)] == ["carol", "carol"]
            polled = json.loads((await two.ask("GET", f"{POLL}?afterSequence=0", token="dev:carol")).body)
            assert [event["sequenceNumber"] for event in polled["events"]] == [1, 2]
            replayed = json.loads((await two.ask("GET", REPLAY, token="dev:carol")).body)
            assert replayed["head"] == 2
            assert two.server.statistics().runs_loaded == 0


@pytest.mark.slow
async def test_a_long_poll_waits_at_the_owner_and_is_forgotten_when_its_client_goes(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            answers: list[dict[str, object]] = []

            async def poll() -> None:
                answer = await two.ask("GET", f"{POLL}?afterSequence=0&waitMs=25000", token="dev:carol")
                answers.append(json.loads(answer.body))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                stream = two.server.connect()
                await stream.send_all(request_bytes("GET", f"{POLL}?afterSequence=0&waitMs=25000", token="dev:dan"))
                await until_connections(one, 3)
                await stream.aclose()
                await until_connections(one, 2)
                await ada.publish(1)
            assert [event["sequenceNumber"] for event in answers[0]["events"]] == [1]
            assert two.server.monitor.metrics.value(PROBLEMS) == 0


async def test_a_process_that_stops_does_not_wait_for_polls_at_others(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as one:
            await one.server.create_run(RUN)
            async with (
                one.join("ada"),
                running_server_on(postgres_url, stop_timeout_s=30.0) as two,
                trio.open_nursery() as nursery,
            ):
                answers: list[Answer] = []

                async def poll() -> None:
                    path = f"{POLL}?afterSequence=0&waitMs=25000"
                    answers.append(await two.ask("GET", path, token="dev:carol"))

                nursery.start_soon(poll)
                await until_connections(one, 2)
                began_at = trio.current_time()
                await two.server.stop()
                assert trio.current_time() - began_at < 10
        assert [(answer.status, answer.problem["code"]) for answer in answers] == [(503, 4001)]
        assert "retry-after" in answers[0].headers


async def test_a_process_that_stops_waits_for_publishes_at_others(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections to them were closed as soon as it had left."""
    append = SqlStore.append

    async def append_slowly(store: SqlStore, batches: Sequence[Append]) -> list[StoreError | None]:
        await trio.sleep(1)
        return await append(store, batches)

    monkeypatch.setattr(ownership, "SEEN_INTERVAL_S", 0.1)  # then it is seen that it has left
    answers: list[Answer] = []
    with trio.fail_after(60):
        async with two_servers(postgres_url, stop_timeout_s=10.0) as (one, two), one.join("ada"):
            monkeypatch.setattr(SqlStore, "append", append_slowly)

            async def publish() -> None:
                body = json.dumps({"clientId": "carol", "messages": [chat(1)]}).encode()
                answers.append(await two.ask("POST", PUBLISH, body, token="dev:carol"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish)
                await until_connections(one, 2)
                await two.server.stop()
            assert [answer.status for answer in answers] == [200]


async def until_connections(running: RunningServer, count: int) -> None:
    while running.server.statistics().connections != count:  # noqa: ASYNC110 - nothing reports it
        await trio.sleep(0.01)


@pytest.mark.parametrize("wait", ["waitMs=20000", "w%61itMs=20000", "waitMs=2%30000"])
async def test_a_poll_that_waits_keeps_no_publish_from_its_way_however_it_is_written(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    """Written otherwise it took one of the connections for requests that are answered at once."""
    monkeypatch.setattr(app, "connection_pool", lambda: connection_pool(1))
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada, trio.open_nursery() as nursery:
            await ada.publish(1)
            nursery.start_soon(two.poll, f"afterSequence=1&{wait}")
            await until_connections(one, 2)
            body = json.dumps({"clientId": "carol", "messages": [chat(1)]}).encode()
            assert (await two.ask("POST", PUBLISH, body, token="dev:carol")).status == 200


async def test_one_connection_may_ask_for_what_is_here_and_what_is_there(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada"):
            stream = two.server.connect()
            for path, status in ((f"{POLL}?afterSequence=0", 200), ("/healthz", 200), (f"{REPLAY}?limit=x", 400)):
                await stream.send_all(request_bytes("GET", path, token="dev:carol"))
                assert (await read_answer(stream)).status == status


async def test_what_the_first_process_can_refuse_never_reaches_the_second(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada"):
            before = one.server.statistics().connections
            assert (await two.ask("GET", f"{POLL}?afterSequence=0", token=None)).status == 401
            assert (await two.ask("GET", POLL, headers="Origin: https://evil.example\r\n")).status == 403
            async with two.connect(headers=[("Authorization", "Bearer garbage")]) as client:
                assert (await client.closed())[0] == 4401
            assert one.server.statistics().connections == before


async def test_the_owner_judges_the_token_in_hello(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada"), two.connect() as client:
            await client.send("hello", protocol=1, clientId="x", token="garbage")
            assert (await client.closed())[0] == 4401


async def test_a_relayed_session_is_one_session(postgres_url: str) -> None:
    """Dedupe, takeover and a resume do not care over which process a client comes."""
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as first:
            await first.publish(1, "x")
            session = first.received[0]["sessionId"]
            position = {"sessionId": session, "epoch": first.received[0]["epoch"], "afterSequence": 0}
            async with two.connect() as second:
                welcome = await second.hello("ada", generation=2, **position)
                assert welcome["outcome"] == "resumed"
                assert welcome["sessionId"] == session
                assert (await second.publish(1, "x"))["duplicate"] is True
                assert (await first.closed())[0] == 4101
                assert second.numbers_received() == [1]


@pytest.mark.parametrize("secret", ["", "guessed"])
async def test_a_secret_that_is_not_ours_opens_nothing(postgres_url: str, secret: str) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as running:
            await running.server.create_run(RUN)
            header = f"X-Steadywire-Relayed: {secret}\r\n"
            answer = await running.ask("GET", f"{POLL}?afterSequence=0", headers=header)
            assert (answer.status, json.loads(answer.body)["code"]) == (421, 4030)


@pytest.mark.slow
async def test_a_run_that_was_not_created_has_no_owner(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as one, running_server_on(postgres_url) as two:
            for running in (one, two, one):
                assert (await running.ask("GET", f"{POLL}?afterSequence=0")).status == 404
                async with running.connect(headers=[("Authorization", "Bearer dev:ada")]) as client:
                    assert (await client.closed())[0] == 4404
            await one.server.create_run(RUN)
            assert (await two.ask("GET", f"{POLL}?afterSequence=0")).status == 200
            assert two.server.statistics().runs_loaded == 1


@pytest.mark.slow
async def test_a_relayed_answer_is_as_long_as_it_is(postgres_url: str) -> None:
    """Many pieces, and a reader that keeps its connection for the next."""
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            for number in range(1, 61):
                await ada.publish(number, "x" * 8000)
            async with httpcore.AsyncConnectionPool(network_backend=httpcore.TrioBackend()) as pool:
                for _ in range(2):
                    response = await pool.request(
                        "GET", f"{two.server.url}{POLL}?afterSequence=0", headers={"Authorization": "Bearer dev:bob"}
                    )
                    assert len(response.content) > 200_000
                    assert json.loads(response.content)["head"] == 60
                    assert dict(response.headers)[b"content-type"] == b"application/json"


@pytest.mark.parametrize("advertise", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "::1:5", "[::1]"])
def test_an_address_that_is_none(advertise: str) -> None:
    with pytest.raises(ConfigError, match=r"must be HOST:PORT, like 10\.0\.0\.5:8765"):
        ServerSettings(advertise=advertise)


def test_every_network_is_no_address(postgres_url: str) -> None:
    assert split_address("[fd00::5]:8765") == ("fd00::5", 8765)
    for store in (postgres_url, "postgres://ada@db/x"):
        with pytest.raises(ConfigError, match="say which is"):
            ServerSettings(host="0.0.0.0", store=store, secret=b"s" * 32)
    ServerSettings(host="0.0.0.0", store=postgres_url, secret=b"s" * 32, advertise="10.0.0.5:8765")
    ServerSettings(host="0.0.0.0", store="memory:", secret=b"s" * 32)
