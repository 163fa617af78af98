"""A session's record: what a replay needs is in it, and no message and no token."""

from pathlib import Path

import pytest
import trio

from reference.client.recorder import SessionRecording
from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.server.connection import Identity
from reference.protocol.session_record import (
    ConnectionEnded,
    ConnectionTried,
    EventCame,
    PublishQueued,
    PublishSettled,
    RecordStarted,
    RoundTripTaken,
    SessionLine,
    SessionTurned,
    decode_lines,
)
from reference.protocol.states import ClientState

from .conftest import Connect
from .harness import Server


def kinds(lines: list[SessionLine]) -> set[type]:
    return {type(line) for line in lines}


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
    lines = decode_lines(content)
    assert isinstance(lines[0], RecordStarted)
    assert {PublishQueued, PublishSettled, ConnectionTried, ConnectionEnded, SessionTurned, RoundTripTaken, EventCame} <= kinds(
        lines
    )
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    settled = next(line for line in lines if isinstance(line, PublishSettled))
    assert settled.sequence_number == 1


async def test_the_end_of_the_session_ends_it(server: Server, join: Connect, tmp_path: Path) -> None:
    async with join() as client:
        recording = client.record(tmp_path / "session.jsonl")
        await client.wait_until(ClientState.LIVE)
    assert recording.ended == "the session has ended"
    assert isinstance(decode_lines(recording.path.read_bytes())[-1], SessionTurned)


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
    assert len(decode_lines(recording.path.read_bytes())) > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "begins with record_started"), (b"{}\n", "line 1 is no line"), (b"\xff\n", "line 1 is no line")],
)
def test_what_is_no_record_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode_lines(content)
