"""The log: one line for each event of a session, and neither a token nor anything that was said, whatever goes wrong."""

import contextlib
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio_websocket
from trio.testing import MockClock

from reference.protocol.limits import Limit
from reference.server.app import open_server
from reference.server.monitoring.logs import SessionLog
from reference.server.settings import ServerSettings
from reference.store import MemoryStore

from .processes import serving
from .test_store_failures import MoodyStore
from .visitors import ORIGIN_NS, RUN, House, request_bytes, visitor_on
from .wire.helpers import read_answer

MARKER = "the-secret-that-nobody-may-log"


async def test_one_line_for_each_event_of_a_session(autojump_clock: MockClock) -> None:
    settings = ServerSettings()
    with structlog.testing.capture_logs() as lines:
        async with open_server(settings, store=MemoryStore(), origin_ns=ORIGIN_NS, listening=False, log_sessions=True) as server:
            await server.create_run(RUN)
            house = House(server)
            async with house.guest("alice") as alice:
                session_id = alice.heard[0]["sessionId"]
                await alice.say("bye")
                await alice.closed()
            async with house.visit() as stranger:
                await stranger.say("hello", protocol=2, clientId="x", token="dev:x")
                await stranger.closed()
            async with house.guest("bob") as bob:
                await bob.socket.send_message("nonsense")
                await bob.closed()
            await house.poll("clientId=carol&afterSequence=0", token="dev:carol")
    shown = [{name: value for name, value in line.items() if name not in ("log_level", "run", "connection")} for line in lines]
    sessions = [line for line in shown if line.get("client") == "alice"]
    who = {"client": "alice", "session": session_id}
    assert sessions == [
        {"event": "session joined", "user": "alice", **who, "outcome": "fresh", "events": 0, "is_return": False},
        {"event": "session left", **who, "code": 1000, "why": "normal", "by": "server"},
        {"event": "session ended", **who},
    ]
    assert {"event": "connection refused", "code": 4406, "why": "version"} in shown
    assert ("session left", 4400, "bad_frame") in [(line["event"], line.get("code"), line.get("why")) for line in shown]
    assert ("session polls", "carol") in [(line["event"], line.get("user")) for line in shown]


def test_a_limit_that_is_reached_all_the_time_is_written_once_in_a_while() -> None:
    log = SessionLog()
    with structlog.testing.capture_logs() as lines:
        for tenth in range(250):
            log.limit_reached(Limit.PUBLISH_RATE, tenth * 100_000_000)
        log.limit_reached(Limit.STATE, 0)
    assert [(line["limit"], line["times"]) for line in lines] == [
        ("publish_rate", 1),
        ("publish_rate", 100),
        ("publish_rate", 100),
        ("state", 1),
    ]


async def say_secrets(port: int, token: str, client: str) -> None:
    """Everything that could find its way into a log, said over both transports, rightly and wrongly."""
    body = json.dumps({"clientId": client, "messages": [{"clientSequence": 1, "eventType": "CHAT", "data": {MARKER: MARKER}}]})
    for method, path, data, given in (
        ("PUT", f"/api/runs/{RUN}", b"", token),
        ("POST", f"/api/runs/{RUN}/collaboration/publish", body.encode(), token),
        ("POST", f"/api/runs/{RUN}/collaboration/publish", body.encode()[:-9], token),
        ("GET", f"/api/runs/{RUN}/collaboration/poll?token={MARKER}&epoch={MARKER}", b"", token),
        ("GET", f"/api/runs/{RUN}/collaboration/poll", b"", MARKER),
        ("GET", f"/{MARKER}?x={MARKER}", b"", None),
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(request_bytes(method, path, data, token=given))
        await read_answer(stream)
        await stream.aclose()
    for message in (
        {"type": "publish", "clientSequence": 1, "eventType": "CHAT", "data": {"text": MARKER}},
        {"type": "publish", "clientSequence": 2, "eventType": MARKER, "data": {}},
        {"type": "cursor", "data": {"at": MARKER}},
        {"type": "auth", "token": MARKER},
    ):
        async with visitor_on(await trio.open_tcp_stream("127.0.0.1", port)) as visitor:
            with contextlib.suppress(trio_websocket.ConnectionClosed):  # a server whose store has failed lets nobody in
                await visitor.hello(client + "-2", token=token, generation=2)
                await visitor.socket.send_message(json.dumps(message))
                await visitor.say("ping", nonce=1)
                await visitor.socket.send_message(f'{{"type":"{MARKER}"}}')
            await visitor.closed()


@pytest.mark.slow
async def test_no_token_and_no_message_is_ever_logged(tmp_path: Path) -> None:
    """A real process, logging as it does when nobody watches."""
    log = tmp_path / "log"
    with serving("--store", f"sqlite:///{tmp_path}/events.sqlite3", log=log) as server:
        await say_secrets(int(server.url.rpartition(":")[2]), "dev:ada", "one")
        with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite3")) as database:
            database.execute("DROP TABLE persisted_collaboration_messages")  # the store fails, with all that its errors say
        with trio.move_on_after(5):
            await say_secrets(int(server.url.rpartition(":")[2]), "dev:ada", "two")
        server.process.send_signal(signal.SIGTERM)
        await trio.to_thread.run_sync(server.process.wait)
    text = log.read_text()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert {"server listens", "session joined", "session left", "server stopped"} <= set(events)
    assert any("store" in event for event in events), events
    assert MARKER not in text
    assert "dev:ada" not in text


async def test_what_a_failing_store_says_is_logged_without_the_messages(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    with structlog.testing.capture_logs() as lines:
        async with open_server(ServerSettings(), store=store, origin_ns=ORIGIN_NS, listening=False) as server:
            await server.create_run(RUN)
            house = House(server)
            async with house.guest("alice") as alice:
                store.is_full = True
                await alice.say("publish", clientSequence=1, eventType="CHAT", data={"text": MARKER})
                await alice.closed()
    shown: Any = [str(line) for line in lines]
    assert any("the store did not confirm" in line for line in shown)
    assert not any(MARKER in line for line in shown)
