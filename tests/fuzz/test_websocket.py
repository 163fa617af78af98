"""The WebSocket endpoint of a whole server: an intruder sends anything; only its connection is closed, with a documented code."""

import json

import trio
import trio_websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.errors import CloseCode
from simulation.testing import client_frames, nearly, server_frames
from tests.server.running_server import RunningServer

from .guarded_server import SMALL, against_a_server

FEW = settings(max_examples=settings.default.max_examples if settings.default.max_examples > 100 else 20)
CODES = {1000, 1002, 1003, 1007, 1009, *CloseCode}
_valid = client_frames().map(frames.encode)
_messages = st.one_of(
    _valid,
    _valid.flatmap(nearly),
    server_frames().map(frames.encode),
    st.text(max_size=40).map(lambda text: text.encode(errors="replace")),
    st.just(b'{"type":"publish","clientSequence":1,"eventType":"CHAT","data":{"x":"' + b"x" * 5000 + b'"}}'),
    st.just(b"[" * 3000),
)


@FEW
@given(messages=st.lists(_messages, max_size=8), greets=st.booleans(), as_binary=st.booleans(), reads=st.booleans())
def test_an_intruder_is_closed_with_a_code_of_ours_and_alone(
    messages: list[bytes], greets: bool, as_binary: bool, reads: bool
) -> None:
    async def intrude(running: RunningServer) -> None:
        async with running.connect(capacity_bytes=20_000) as client:
            if greets:
                await client.hello("mallory")
            try:
                for number, message in enumerate(messages):
                    is_binary = as_binary and number == len(messages) - 1
                    await client.socket.send_message(message if is_binary else message.decode(errors="replace"))
                    await trio.sleep(0.01)
            except trio_websocket.ConnectionClosed:
                pass
            if not reads:
                return
            with trio.move_on_after(60):  # nobody sends any more: the server's own limits end it
                code, _ = await client.closed()
                assert code is None or code in CODES, code
                return
            raise AssertionError("a silent connection stands for ever")

    against_a_server(intrude)


@FEW
@given(client_id=st.sampled_from(["alice", "mallory"]), number=st.integers(1, 3), generation=st.integers(1, 2**53))
def test_another_users_client_id_is_of_no_use(client_id: str, number: int, generation: int) -> None:
    """10.3: a connection with alice's client id is closed (4403); her session goes on, and no such event is in her log."""

    async def intrude(running: RunningServer) -> None:
        async with running.connect() as client:
            await client.send("hello", protocol=1, clientId=client_id, token="dev:mallory", generation=generation)
            if client_id == "alice":
                assert (await client.closed())[0] == CloseCode.FORBIDDEN
                return
            await client.receive("welcome")
            for sequence in range(1, number + 1):
                assert (await client.publish(sequence))["type"] == "accepted"

    against_a_server(intrude)


@FEW
@given(count=st.integers(1, 60), size=st.integers(0, 3000))
def test_g7_bounds_of_what_an_intruder_makes_the_server_keep(count: int, size: int) -> None:
    """Who publishes and never reads costs the server no more than its limits say, and is cut; the others read on."""

    async def intrude(running: RunningServer) -> None:
        async with running.connect(capacity_bytes=2000) as client:
            await client.hello("mallory")
            stream_full = False
            for number in range(1, count + 1):
                with trio.move_on_after(1.0) as patience:
                    message = {"type": "publish", "clientSequence": number, "eventType": "CHAT", "data": {"text": "y" * size}}
                    try:
                        await client.socket.send_message(json.dumps(message))
                    except trio_websocket.ConnectionClosed:
                        break
                stream_full = stream_full or patience.cancelled_caught
            assert size < SMALL.frame_bytes_max or not stream_full
            await trio.sleep(1.0)

    against_a_server(intrude)
