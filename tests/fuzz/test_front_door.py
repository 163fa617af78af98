"""The front door of a whole server: arbitrary and nearly valid requests get an answer of the documented kind, or are cut."""

import json
from itertools import pairwise

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.testing import nearly
from tests.server.running_server import RUN, RunningServer, request_bytes

from .guarded_server import against_a_server

FEW = settings(max_examples=settings.default.max_examples if settings.default.max_examples > 100 else 20)
_BODY = json.dumps({"clientId": "m", "messages": [{"clientSequence": 1, "eventType": "CHAT", "data": {"text": "x"}}]}).encode()
_PATHS = (
    f"/api/runs/{RUN}/collaboration/poll?clientId=m&waitMs=0",
    f"/api/runs/{RUN}/collaboration/replay?fromSequence=0&limit=5",
    f"/ws/runs/{RUN}/collaboration",
    "/api/runs/garbage/collaboration/poll",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/",
    "//",
    "/%00",
    "/api/runs/../../etc/passwd",
)
_requests = st.one_of(
    st.sampled_from(_PATHS).map(lambda path: request_bytes("GET", path, token="dev:mallory")),
    st.just(request_bytes("POST", f"/api/runs/{RUN}/collaboration/publish", _BODY, token="dev:mallory")),
)
_pieces = st.lists(_requests.flatmap(nearly) | _requests | st.binary(max_size=60), min_size=1, max_size=4)


async def throw(running: RunningServer, pieces: list[bytes], end: str) -> bytes:
    """Send everything, then end like this; returns the answer. A connection that hangs fails by timeout."""
    stream = running.server.connect(capacity_bytes=2000)
    received = b""

    async def send() -> None:
        try:
            for piece in pieces:
                await stream.send_all(piece)
            if end == "eof":
                await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if end == "abort":
            stream.abort()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        try:
            while data := await stream.receive_some():
                received += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()
    stream.close()
    return received


@FEW
@given(pieces=_pieces, end=st.sampled_from(["eof", "abort", "nothing"]))
def test_whatever_is_asked_is_answered_with_a_code_of_ours_or_cut(pieces: list[bytes], end: str) -> None:
    async def intrude(running: RunningServer) -> None:
        received = await throw(running, pieces, end)
        assert not received or received.startswith(b"HTTP/1.1 "), received[:60]
        for line in received.split(b"\r\n"):
            if line.startswith(b"HTTP/1.1 "):
                status = int(line.split()[1])
                assert status < 500 or status == 503, line

    against_a_server(intrude)


@FEW
@given(
    names=st.lists(
        st.sampled_from(["X-User-Id", "X-User", "X-Forwarded-User", "Remote-User", "Userid"]), max_size=3, unique=True
    ),
    over_http=st.booleans(),
)
def test_the_user_is_the_tokens_whatever_the_headers_say(names: list[str], over_http: bool) -> None:
    """G3 and 10.2: there is no header in which a client could say who it is."""

    async def intrude(running: RunningServer) -> None:
        lines = [(name, "alice") for name in ["X-User-Id", *names]]
        if over_http:
            headers = "".join(f"{name}: {value}\r\n" for name, value in lines)
            await running.ask("POST", f"/api/runs/{RUN}/collaboration/publish", _BODY, token="dev:mallory", headers=headers)
            events = (await running.poll(token="dev:mallory", query="afterSequence=1"))["events"]
        else:
            headers_sent = [("Authorization", "Bearer dev:mallory"), *lines]
            async with running.connect(headers=headers_sent) as client:
                await client.send("hello", protocol=1, clientId="m")
                await client.receive("welcome")
                await client.publish(1, "x")
                events = [event for event in await client.events(2) if event["sequenceNumber"] == 2]
        assert [event["userId"] for event in events] == ["mallory"]

    against_a_server(intrude)


@FEW
@given(cuts=st.lists(st.integers(0, 400), max_size=5), pause_s=st.sampled_from([0.0, 1.0, 6.0]))
def test_a_request_in_pieces_is_the_same_request_or_is_too_slow(cuts: list[int], pause_s: float) -> None:
    wire = request_bytes("POST", f"/api/runs/{RUN}/collaboration/publish", _BODY, token="dev:mallory")
    places = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})

    async def intrude(running: RunningServer) -> None:
        stream = running.server.connect()
        try:
            for start, end in pairwise(places):
                await stream.send_all(wire[start:end])
                await trio.sleep(pause_s)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        received = b""
        try:
            while b"results" not in received and (data := await stream.receive_some()):
                received += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        stream.abort()
        assert received[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 408", b""), received[:80]
        if pause_s == 0.0:
            assert b'"accepted"' in received

    against_a_server(intrude)
