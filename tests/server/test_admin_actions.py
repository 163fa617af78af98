"""An operator's actions on sessions, users and runs: what clients receive, what remains, and who is allowed."""

import json
import time
from typing import Any

import pytest
import trio
from postgres_server import end_connections
from trio.testing import MockClock

from reference.protocol.errors import RemoteError
from reference.protocol.records import StoredRun
from reference.server.access.auth import DevelopmentAuthenticator, Holder
from reference.server.access.users import REFUSED_USERS_MAX, Refusal, RefusedUsers, RefusingAuthenticator
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore

from .running_server import OTHER_RUN, RUN, RunningServer, running_server
from .two_servers import on_database, running_server_on, two_servers

BASE = "/api/admin/websocket"


async def act(running: RunningServer, method: str, path: str, status: int = 200, *, token: str | None = "dev-admin:root") -> Any:
    answer = await running.ask(method, BASE + path, token=token)
    assert answer.status == status, answer
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sessions/some-session/close"),
        ("POST", f"/runs/{RUN}/send-away"),
        ("DELETE", f"/runs/{RUN}"),
        ("GET", "/refused-users"),
        ("PUT", "/refused-users?userId=bob"),
        ("DELETE", "/refused-users?userId=bob"),
    ],
)
async def test_only_admins_may_act(method: str, path: str, autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        await act(running, method, path, 403, token="dev:alice")
        await act(running, method, path, 401, token=None)
        foreign = await running.ask(method, BASE + path, token="dev-admin:root", headers="Origin: https://evil.example\r\n")
        assert foreign.status == 403
        assert (await bob.publish(1))["type"] == "accepted", "nothing has happened"


async def test_a_closed_session_comes_back_or_not(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    async with running_server() as running, running.join("alice") as alice, running.join("bob") as bob:
        for client, parameters in ((alice, ""), (bob, "?isFinal=true")):
            closing = await act(running, "POST", f"/sessions/{client.received[0]['sessionId']}/close{parameters}")
            assert closing == {"closed": 1}
        assert (await alice.receive("goaway"))["code"] == 4001
        assert (await alice.closed())[0] == 4001
        assert await bob.closed() == (4403, "an operator has ended this session")
        async with running.join("alice", generation=2), running.join("carol") as carol:
            assert carol.present() == ["alice", "bob", "carol"], "a closed session keeps its grace"
        reported = capsys.readouterr().out
        assert reported.count("admin closed session") == 2
        assert reported.count("admin=root") == 2


async def test_a_session_that_cannot_be_closed(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        polled = await running.poll("clientId=dave&afterSequence=0", token="dev:dave")
        assert "refuse the user" in (await act(running, "POST", f"/sessions/{polled['sessionId']}/close", 409))["message"]
        await act(running, "POST", "/sessions/nobody/close", 404)
        async with running.join("alice", sessionId="same"), running.join("bob", sessionId="same") as bob:
            assert "clientId" in (await act(running, "POST", "/sessions/same/close", 409))["message"]
            await act(running, "POST", f"/sessions/same/close?runId={RUN}&clientId=bob&isFinal=true")
            assert (await bob.closed())[0] == 4403


async def test_a_run_that_is_sent_away_comes_back_to_what_it_had(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN)) as running:
        async with running.join("alice") as alice, running.join("bob") as bob, running.join("carol", OTHER_RUN) as carol:
            await alice.publish(1, "before")
            away = await act(running, "POST", f"/runs/{RUN.upper()}/send-away?retryAfterMs=7000&spreadMs=900")
            assert away == {"closed": 2}
            for client in (alice, bob):
                goaway = await client.receive("goaway")
                assert (goaway["code"], goaway["retryAfterMs"], goaway["spreadMs"]) == (4001, 7000, 900)
                assert (await client.closed())[0] == 4001
            assert (await carol.publish(1))["type"] == "accepted"
        async with running.join("alice", generation=2, epoch=alice.received[0]["epoch"], afterSequence=0) as again:
            assert again.received[0]["outcome"] == "resumed"
            assert [event["data"]["text"] for event in await again.events(1)] == ["before"]
        assert await act(running, "POST", "/runs/22222222-2222-2222-2222-222222222222/send-away") == {"closed": 0}
        await act(running, "POST", "/runs/no-run/send-away", 404)
        await act(running, "POST", f"/runs/{RUN}/send-away?spreadMs=-1", 400)


async def test_a_refused_user_is_out_everywhere_until_it_is_over(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN)) as running:
        async with running.join("mallory") as here, running.join("mallory", OTHER_RUN) as there, running.join("alice") as alice:
            assert await act(running, "PUT", "/refused-users?userId=mallory&forMs=60000") == {"closed": 2}
            assert (await here.closed())[0] == (await there.closed())[0] == 4403
            (refused,) = (await act(running, "GET", "/refused-users"))["users"]
            assert (refused["userId"], refused["refusedBy"]) == ("mallory", "root")
            async with running.connect() as again:
                await again.send("hello", protocol=1, clientId="m2", token="dev:mallory")
                assert (await again.closed())[0] == 4403
            polled = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll", token="dev:mallory")
            assert (polled.status, polled.problem["code"]) == (403, 4403)
            async with running.join("dan") as dan:
                await dan.send("auth", token="dev:mallory")
                assert (await dan.closed())[0] == 4403
            assert (await alice.publish(1))["type"] == "accepted"
            await trio.sleep(61)
        await running.poll(token="dev:mallory")
        assert (await act(running, "GET", "/refused-users"))["users"] == []


async def test_a_refusal_ends_the_requests_of_the_user_that_wait(autojump_clock: MockClock) -> None:
    """A poll that waited brought the next events to the refused user."""
    answers: dict[str, Any] = {}
    poll = f"/api/runs/{RUN}/collaboration/poll?afterSequence=0&waitMs=20000"

    async def wait(user: str) -> None:
        answers[user] = await running.ask("GET", poll, token=f"dev:{user}")

    async with running_server() as running, running.join("alice") as alice, trio.open_nursery() as nursery:
        nursery.start_soon(wait, "mallory")
        nursery.start_soon(wait, "bob")
        await trio.sleep(1)
        assert await act(running, "PUT", "/refused-users?userId=mallory") == {"closed": 1}
        await trio.sleep(1)
        assert (answers["mallory"].status, answers["mallory"].problem["code"]) == (403, 4403)
        await alice.publish(1)
        await trio.sleep(1)
        assert len(answers["bob"].problem["events"]) == 1


class LateLoads(MemoryStore):
    """Takes five seconds to load a run."""

    async def load_run(self, run_id: str) -> StoredRun | None:
        await trio.sleep(5)
        return await super().load_run(run_id)


@pytest.mark.parametrize("user", ["mallory", "root"])
async def test_whoever_is_refused_while_the_run_loads_stays_out(user: str, autojump_clock: MockClock) -> None:
    """The token had been checked before."""
    token = f"dev-admin:{user}" if user == "root" else f"dev:{user}"  # an admin is not kept out
    status = 200 if user == "root" else 403
    collaboration = f"/api/runs/{RUN}/collaboration"
    publish = {"clientId": "m", "messages": [{"clientSequence": 1, "eventType": "CHAT", "data": {}}]}

    async def ask(method: str, path: str, body: bytes = b"") -> None:
        assert (await running.ask(method, collaboration + path, body, token=token)).status == status, path

    async with (
        running_server(store=LateLoads()) as running,
        running.connect(headers=[("Authorization", f"Bearer {token}")]) as client,
        trio.open_nursery() as nursery,
    ):
        await client.send("hello", protocol=1, clientId=user)
        for path in ("/poll", "/replay", "/events"):
            nursery.start_soon(ask, "GET", path)
        nursery.start_soon(ask, "POST", "/publish", json.dumps(publish).encode())
        await trio.sleep(1)
        await act(running, "PUT", f"/refused-users?userId={user}")
        if user == "root":
            await client.receive("welcome")
        else:
            assert (await client.closed())[0] == 4403
        await trio.sleep(1)
        polled = await running.poll(token="dev:alice")
        assert (polled["head"], polled["activeUsers"]) == ((1, ["root"]) if user == "root" else (0, []))


async def test_who_came_with_the_token_of_another_user_is_refused_as_who_he_is(autojump_clock: MockClock) -> None:
    """He was counted as the user of the upgrade's token, though the token of hello says who he is (8.35)."""
    async with running_server() as running, running.connect(headers=[("Authorization", "Bearer dev:alice")]) as client:
        await client.hello("mallory")
        assert await act(running, "PUT", "/refused-users?userId=alice") == {"closed": 0}
        assert await act(running, "PUT", "/refused-users?userId=mallory") == {"closed": 1}
        assert (await client.closed())[0] == 4403


async def test_a_refused_user_is_closed_even_if_there_is_no_room_for_a_session_record(autojump_clock: MockClock) -> None:
    async with (
        running_server(session_records_max=1) as running,
        running.join("alice") as alice,
        running.join("mallory") as mallory,
    ):
        assert await act(running, "PUT", "/refused-users?userId=mallory") == {"closed": 1}
        assert (await mallory.closed())[0] == 4403
        assert (await alice.publish(1))["type"] == "accepted"


async def test_a_refusal_can_be_taken_back_and_does_not_lock_out_an_admin(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        await act(running, "PUT", "/refused-users?userId=root")
        await act(running, "PUT", "/refused-users?userId=eve/../%2Fx")
        assert await act(running, "DELETE", "/refused-users?userId=eve/../%2Fx") == {"wasRefused": True}
        assert await act(running, "DELETE", "/refused-users?userId=root") == {"wasRefused": True}
        assert await act(running, "DELETE", "/refused-users?userId=root") == {"wasRefused": False}
        await act(running, "PUT", "/refused-users", 400)
        await act(running, "PUT", f"/refused-users?userId={'x' * 129}", 400)


def test_the_table_of_refused_users_is_bounded() -> None:
    refused = RefusedUsers()
    for number in range(REFUSED_USERS_MAX):
        refused.refuse(Refusal(f"user-{number}", until=10, refused_by="root"), now=0)
    with pytest.raises(RemoteError, match="limit"):
        refused.refuse(Refusal("one more", until=10, refused_by="root"), now=0)
    refused.refuse(Refusal("user-7", until=20, refused_by="root"), now=0)
    refused.refuse(Refusal("one more", until=30, refused_by="root"), now=10)
    assert [one.user_id for one in refused.listed(now=10)] == ["user-7", "one more"]
    judge = RefusingAuthenticator(DevelopmentAuthenticator(), refused)
    assert isinstance(judge.holder("dev:user-7", 19), RemoteError)
    assert isinstance(judge.holder("dev:user-7", 20), Holder)
    assert isinstance(judge.holder("dev-admin:user-7", 19), Holder)


async def test_a_deleted_run_is_gone_for_everyone(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN)) as running:
        async with running.join("alice") as alice, running.join("bob") as bob:
            await alice.publish(1)
            assert await act(running, "DELETE", f"/runs/{RUN}") == {"closed": 2}
            assert await alice.closed() == await bob.closed() == (4404, "this run has been deleted")
        await act(running, "DELETE", f"/runs/{RUN}", 404)
        assert (await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll")).status == 404
        assert (await running.ask("PUT", f"/api/runs/{RUN}")).status == 201
        async with running.join("alice", epoch=alice.received[0]["epoch"], afterSequence=1) as again:
            assert (again.received[0]["outcome"], again.received[0]["head"]) == ("reset", 0)
        assert (await running.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll")).status == 200


async def test_any_process_acts_for_all(postgres_url: str) -> None:
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two):
            await two.server.create_run(OTHER_RUN)
            async with one.join("ada") as ada, two.join("bob", OTHER_RUN) as bob, two.join("carol") as carol:
                session = bob.received[0]["sessionId"]
                assert (await act(one, "POST", f"/sessions/{session}/close?isFinal=true"))["closed"] == 1
                assert (await bob.closed())[0] == 4403
                await act(one, "POST", "/sessions/nobody/close", 404)
                await act(one, "PUT", "/refused-users?userId=bob")
                assert (await two.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll", token="dev:bob")).status == 403
                assert (await act(two, "DELETE", "/refused-users?userId=bob"))["wasRefused"]
                assert (await two.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll", token="dev:bob")).status == 200
                assert (await act(two, "POST", f"/runs/{RUN}/send-away"))["closed"] == 2
                for client in (ada, carol):
                    assert (await client.closed())[0] == 4001
            assert await act(one, "DELETE", f"/runs/{OTHER_RUN}") == {"closed": 0}
            assert (await two.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll")).status == 404


async def test_a_process_that_joins_refuses_whom_the_others_refuse(postgres_url: str) -> None:
    """A user who was refused before it started got in through it; and so did one who was refused while it was cut off."""
    path = f"/api/runs/{RUN}/collaboration/poll"
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as one:
            await one.server.create_run(RUN)
            await act(one, "PUT", "/refused-users?userId=bob")
            listed = (await act(one, "GET", "/refused-users"))["users"]
            async with running_server_on(postgres_url) as two:
                assert (await two.ask("GET", path, token="dev:bob")).status == 403
                assert (await act(two, "GET", "/refused-users"))["users"] == listed
                assert (await two.ask("GET", "/api/processes/refused-users")).status == 403
                newest = "SELECT process_id, secret FROM collaboration_processes ORDER BY process_id DESC"
                process_id, secret = (await on_database(postgres_url, newest))[0]
                alone = f"X-Steadywire-Relayed: {secret}\r\n"
                forget = "/api/admin/websocket/refused-users?userId=bob"
                assert (await two.ask("DELETE", forget, token="dev-admin:root", headers=alone)).status == 200
                assert (await two.ask("GET", path, token="dev:bob")).status == 200
                lease = f"pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {process_id} AND granted)"
                await trio.to_thread.run_sync(end_connections, postgres_url, lease)
                while (await two.ask("GET", path, token="dev:bob")).status != 403:
                    await trio.lowlevel.checkpoint()


async def test_a_refusal_lasts_by_the_clock_that_tokens_are_checked_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the computer's clock had been set forward, a refused user came in, and was listed as refused."""
    later = time.time_ns() + 7200 * 10**9
    async with open_server(ServerSettings(), store=MemoryStore(), listening=False) as server:
        await server.create_run(RUN)
        running = RunningServer(server)
        monkeypatch.setattr("reference.server.clock.time.time_ns", lambda: later)
        await act(running, "PUT", "/refused-users?userId=bob&forMs=60000")
        poll = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll", token="dev:bob")
        assert poll.status == 403
        (refused,) = (await act(running, "GET", "/refused-users"))["users"]
        assert refused["until"] == later // 10**6 + 60_000
