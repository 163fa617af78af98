"""The log: one line for each event of a session, and never a token or a message's content."""

import contextlib
import errno
import io
import json
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio_websocket
from trio.testing import MockClock

from reference.cli.serve_command import _log_to_stderr
from reference.protocol.limits import Limit
from reference.server.app import open_server
from reference.server.monitoring.logs import FaultLog, LogQueue, SessionLog
from reference.server.settings import ServerSettings
from reference.server.wire.front_door import Problem
from reference.store import MemoryStore

from .processes import serving
from .running_server import ORIGIN_NS, RUN, RunningServer, frame_client_on, request_bytes
from .test_store_failures import MoodyStore
from .wire.helpers import read_answer

MARKER = "the-secret-that-nobody-may-log"


async def test_one_line_for_each_event_of_a_session(autojump_clock: MockClock) -> None:
    settings = ServerSettings()
    with structlog.testing.capture_logs() as lines:
        async with open_server(settings, store=MemoryStore(), origin_ns=ORIGIN_NS, listening=False, log_sessions=True) as server:
            await server.create_run(RUN)
            running = RunningServer(server)
            async with running.join("alice") as alice:
                session_id = alice.received[0]["sessionId"]
                await alice.send("bye")
                await alice.closed()
            async with running.connect() as stranger:
                await stranger.send("hello", protocol=2, clientId="x", token="dev:x")
                await stranger.closed()
            async with running.join("bob") as bob:
                await bob.socket.send_message("garbage")
                await bob.closed()
            await running.poll("clientId=carol&afterSequence=0", token="dev:carol")
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
    assert ("session fell back to polling", "carol") in [(line["event"], line.get("user")) for line in shown]


def test_a_limit_that_is_reached_all_the_time_is_written_once_in_a_while() -> None:
    now = 0
    log = SessionLog(lambda: now)
    with structlog.testing.capture_logs() as lines:
        for tenth in range(250):
            now = tenth * 100_000_000
            log.limit_reached(Limit.PUBLISH_RATE)
        log.limit_reached(Limit.STATE)
    assert [(line["limit"], line["count"]) for line in lines] == [
        ("publish_rate", 1),
        ("publish_rate", 100),
        ("publish_rate", 100),
        ("state", 1),
    ]


async def send_secrets(port: int, token: str, client: str) -> None:
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
        async with frame_client_on(await trio.open_tcp_stream("127.0.0.1", port)) as frame_client:
            with contextlib.suppress(trio_websocket.ConnectionClosed):  # a server whose store has failed lets nobody in
                await frame_client.hello(client + "-2", token=token, generation=2)
                await frame_client.socket.send_message(json.dumps(message))
                await frame_client.send("ping", nonce=1)
                await frame_client.socket.send_message(f'{{"type":"{MARKER}"}}')
            await frame_client.closed()


@pytest.mark.slow
async def test_no_token_and_no_message_is_ever_logged(tmp_path: Path) -> None:
    """A real process, logging as it does when nobody watches."""
    log = tmp_path / "log"
    with serving("--store", f"sqlite:///{tmp_path}/events.sqlite3", log=log) as server:
        await send_secrets(int(server.url.rpartition(":")[2]), "dev:ada", "one")
        with contextlib.closing(sqlite3.connect(tmp_path / "events.sqlite3")) as database:
            database.execute("DROP TABLE persisted_collaboration_messages")  # the store fails, with all that its errors say
        with trio.move_on_after(5):
            await send_secrets(int(server.url.rpartition(":")[2]), "dev:ada", "two")
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
            running = RunningServer(server)
            async with running.join("alice") as alice:
                store.is_full = True
                await alice.send("publish", clientSequence=1, eventType="CHAT", data={"text": MARKER})
                await alice.closed()
    shown: Any = [str(line) for line in lines]
    assert any("the store did not confirm" in line for line in shown)
    assert not any(MARKER in line for line in shown)


def test_faults_of_one_kind_are_logged_once_in_ten_seconds_with_a_count() -> None:
    """While descriptors are used up, each try to accept fails: ten tracebacks a second."""
    now = 0
    faults = FaultLog(lambda: now)

    def fail(number: int) -> None:
        try:
            raise OSError(errno.EMFILE, "Too many open files") if number % 2 else ValueError(number)
        except (OSError, ValueError) as error:
            faults.problem(Problem(f"run {number:08x}-0000-0000-0000-000000000000 failed", error))

    with structlog.testing.capture_logs() as lines:
        for tenth in range(250):
            now = tenth * 100_000_000
            fail(tenth)
    assert [line.get("count", 1) for line in lines if "reason" in line] == [1, 50, 50]
    assert [line.get("count", 1) for line in lines if "exc_info" in line] == [1, 50, 50]


class StoppedReader(io.StringIO):
    """A reader of the log that takes nothing until the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.has_stopped = threading.Event()

    def write(self, text: str) -> int:
        self.has_stopped.set()
        assert self.goes_on.wait(20)
        return super().write(text)


def test_a_reader_of_the_log_that_stops_costs_lines_and_nothing_else() -> None:
    reader, reported = StoppedReader(), []
    queue = LogQueue(reader, lines_max=10)
    queue.on_drop = lambda: reported.append(1)
    queue.write("first\n")
    assert reader.has_stopped.wait(20)
    for number in range(100):
        queue.write(f"line {number}\n")
    assert len(reported) == 91
    reader.goes_on.set()
    queue.close()
    lines = reader.getvalue().splitlines()
    assert [line for line in lines if "dropped" not in line] == ["first", *(f"line {number}" for number in range(9))]
    assert sum(int(line.rpartition("count=")[2]) for line in lines if "dropped" in line) == 91


async def test_a_page_that_is_refused_is_logged(autojump_clock: MockClock) -> None:
    settings = ServerSettings(secret=b"k" * 40, allowed_origins=("https://app.example.org",))
    with structlog.testing.capture_logs() as lines:
        async with open_server(settings, store=MemoryStore(), origin_ns=ORIGIN_NS, listening=False, log_sessions=True) as server:
            for _ in range(3):
                headers = "Origin: https://other.example.org\r\n"
                await RunningServer(server).ask("GET", f"/api/runs/{RUN}/collaboration/poll", headers=headers)
    refused = [line for line in lines if line["event"] == "page refused"]
    assert [(line["origin"], line["count"]) for line in refused] == [("https://other.example.org", 1)]


def test_a_line_does_not_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for a run of any name, and the log names it."""
    target = io.StringIO()
    monkeypatch.setattr(sys, "stderr", target)
    queue = _log_to_stderr(as_json=False)
    try:
        SessionLog(lambda: 0).refused("\x1b]0;mine\x07\x9b2J\r\x7f", 4404)
    finally:
        queue.close()
        structlog.reset_defaults()
    written = target.getvalue()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable(), written
