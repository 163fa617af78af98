"""A session's record: what a replay needs is in it, and no message and no token."""

import os
from pathlib import Path

import pytest
import trio

from reference.client.recorder import ROUND_TRIP_S_MAX, SessionRecording
from reference.protocol.errors import ConfigError
from reference.protocol.policies.fallback import AfterSeconds
from reference.protocol.policies.keepalive import MissesInARow, NoPings
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.server.connection import Identity
from reference.protocol.states import ClientState
from simulation.trace.trace import (
    AcceptedRecord,
    AttemptMade,
    ConnectionLost,
    Delivered,
    Published,
    RoundTripTaken,
    SessionOver,
    StateTurned,
    Trace,
    TraceStarted,
)

from .conftest import Connect
from .harness import Server


async def test_a_session_with_a_cut_is_recorded(server: Server, join: Connect, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    server.tokens["a-secret-token"] = Identity("ada")
    async with join(token="a-secret-token") as client:
        with client.record(path) as recording:
            await client.publish("CHAT", {"text": "a secret word"})
            await client.wait_until(ClientState.LIVE)
            await trio.sleep(25)  # virtual
            server.wires[-1].cut()
            await client.wait_until(lambda client: client.state is not ClientState.LIVE)
            await client.wait_until(ClientState.LIVE)
            async for _ in client.events():
                break
        assert recording.ended == "the block has ended"
    content = path.read_bytes()
    assert b"secret" not in content
    records = list(Trace.read(path))
    started = records[0]
    assert isinstance(started, TraceStarted)
    assert (started.keeps, started.world) == ("session", "real")
    seen = {Published, AcceptedRecord, AttemptMade, ConnectionLost, StateTurned, RoundTripTaken, Delivered}
    assert seen <= {type(record) for record in records}
    assert [record.at for record in records] == sorted(record.at for record in records)
    accepted = next(record for record in records if isinstance(record, AcceptedRecord))
    delivered = next(record for record in records if isinstance(record, Delivered))
    assert (delivered.epoch, delivered.sequence_number) == (accepted.epoch, accepted.sequence_number)
    assert delivered.size_bytes == len('{"text":"a secret word"}')


async def test_the_answer_to_a_copy_is_recorded_as_one(nursery: trio.Nursery, join: Connect, tmp_path: Path) -> None:
    server = Server(nursery, append_s=1.0)
    async with join(open_stream=server.open_stream) as client:
        with client.record(tmp_path / "session.jsonl") as recording:
            await client.wait_until(ClientState.LIVE)
            ticket = client.publish_soon("CHAT", {})
            await trio.sleep(0.5)
            server.is_down = True
            server.wires[-1].cut()
            await trio.sleep(3)  # meanwhile it becomes durable
            server.is_down = False
            await ticket.accepted()
    (accepted,) = (record for record in Trace.read(recording.path) if isinstance(record, AcceptedRecord))
    assert accepted.duplicate


async def test_its_policies_are_those_of_the_session(server: Server, join: Connect, tmp_path: Path) -> None:
    fallback, heartbeat = AfterSeconds(7.0), MissesInARow(15.0, 3, 15.0)
    async with join(fallback=fallback, heartbeat=heartbeat) as client:
        client.record(tmp_path / "session.jsonl").end("enough")
    async with join() as client:
        client.record(tmp_path / "usual.jsonl").end("enough")
    started, usual = (next(iter(Trace.read(tmp_path / name))) for name in ("session.jsonl", "usual.jsonl"))
    assert isinstance(started, TraceStarted)
    assert isinstance(usual, TraceStarted)
    assert (started.fallback, started.heartbeat) == (fallback, heartbeat)
    assert started.notice_bound_s == heartbeat.notice_max_s + ROUND_TRIP_S_MAX
    assert (usual.fallback, usual.heartbeat) == (client._session.config.fallback_policy, client._session.config.heartbeat_policy)


async def test_a_recording_that_cannot_begin_leaves_no_file(server: Server, join: Connect, tmp_path: Path) -> None:
    class Unbounded(NoPings):
        @property
        def notice_max_s(self) -> float:
            raise ValueError("this policy has no bound")

    async with join(heartbeat=Unbounded()) as client:
        with pytest.raises(ValueError, match="has no bound"):
            client.record(tmp_path / "session.jsonl")
    assert os.listdir(tmp_path) == []


async def test_the_end_of_the_session_ends_it(server: Server, join: Connect, tmp_path: Path) -> None:
    async with join() as client:
        recording = client.record(tmp_path / "session.jsonl")
        await client.wait_until(ClientState.LIVE)
    assert recording.ended == "the session has ended"
    assert isinstance(list(Trace.read(recording.path))[-1], SessionOver)


async def test_a_file_that_is_there_is_not_overwritten(server: Server, join: Connect, tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.write_text("mine")
    async with join() as client:
        with pytest.raises(ConfigError, match="is there already"):
            client.record(path)
        with pytest.raises(ConfigError, match="cannot be written"):
            client.record(tmp_path / "no folder" / "file")
    assert path.read_text() == "mine"


async def test_at_its_limit_the_recording_ends_and_the_session_goes_on(server: Server, join: Connect, tmp_path: Path) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        recording = SessionRecording(tmp_path / "small", client.run_id, client._session, FullJitter(), 0, bytes_max=1500)
        client._io.add_tap(recording.tap)
        for number in range(30):
            await client.publish("CHAT", {"n": number})
    assert recording.ended == "the file has reached its limit"
    assert recording.path.stat().st_size <= 1500
    assert len(Trace.read(recording.path)) > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no trace"),
        (b"{}\n", "is no trace"),
        (b"\xff\n", "is no trace"),
        (b'{"record":"trace_started","format_version":3}\n', "in format version 3; this version reads format version 2"),
        (b'{"record":"trace_started","format_version":2}\n', "line 1: not a trace_started record"),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Trace.read(path)


async def test_a_last_line_that_was_cut_off_is_left_out(server: Server, join: Connect, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    async with join() as client:
        client.record(path)
        await client.wait_until(ClientState.LIVE)
    whole = list(Trace.read(path))
    for cut in (1, 10):
        path.write_bytes(path.read_bytes()[:-cut])
        assert list(Trace.read(path)) == whole[:-1]
