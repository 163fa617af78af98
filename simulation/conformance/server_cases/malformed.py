"""Cases for a server: messages that are no frames, frames with bad values, and limits of size and rate."""

import json
from typing import Any

from simulation.conformance.cases import CaseFailed, NotApplicable, Registry, require
from simulation.conformance.frames import COUNT_MAX, CURSOR_BYTES_MAX
from simulation.conformance.server_bench import ServerBench
from simulation.conformance.server_peer import ServerPeer

registry: Registry[ServerBench] = Registry()
case = registry.case

FRAMES_AT_MOST = 20_000
"""So many frames at once are tried to exceed the server's rate."""

BAD_MESSAGES = {
    "no JSON": "hello",
    "an empty message": "",
    "cut off": '{"type": "ping", "nonce": 1',
    "two objects": '{"type": "ping", "nonce": 1}{"type": "ping", "nonce": 2}',
    "a list": '[{"type": "ping", "nonce": 1}]',
    "a string": '"ping"',
    "null": "null",
    "no type": '{"nonce": 1}',
    "a type that is no string": '{"type": 7, "nonce": 1}',
    "an unknown type": '{"type": "shout", "nonce": 1}',
    "a frame of a server": '{"type": "pong", "nonce": 1, "serverTime": 0}',
    "a frame over HTTP": '{"type": "poll"}',
    "NaN": '{"type": "ping", "nonce": 1, "roundTripMs": NaN}',
}
BAD_HELLOS: dict[str, dict[str, Any]] = {
    "no protocol": {"protocol": None},
    "protocol as a string": {"protocol": "1"},
    "no clientId": {"clientId": None},
    "an empty clientId": {"clientId": ""},
    "a clientId with a blank": {"clientId": "a b"},
    "a clientId that ends in a line feed": {"clientId": "a\n"},
    "a clientId of 129 characters": {"clientId": "x" * 129},
    "generation 0": {"generation": 0},
    "generation above 2^53": {"generation": COUNT_MAX + 1},
    "afterSequence without epoch": {"afterSequence": 0},
    "epoch without afterSequence": {"epoch": "e1"},
    "a negative afterSequence": {"epoch": "e1", "afterSequence": -1},
    "an unknown start": {"start": "middle"},
    "a token of 8193 characters": {"token": "x" * 8193},
    "a sessionId that is no id": {"sessionId": "a/b"},
}
BAD_FRAMES: dict[str, str] = {
    "publish without data": '{"type":"publish","clientSequence":1,"eventType":"CHAT"}',
    "publish without eventType": '{"type":"publish","clientSequence":1,"data":{}}',
    "publish without clientSequence": '{"type":"publish","eventType":"CHAT","data":{}}',
    "clientSequence 0": '{"type":"publish","clientSequence":0,"eventType":"CHAT","data":{}}',
    "clientSequence with a fraction": '{"type":"publish","clientSequence":1.5,"eventType":"CHAT","data":{}}',
    "clientSequence as a string": '{"type":"publish","clientSequence":"1","eventType":"CHAT","data":{}}',
    "clientSequence as a boolean": '{"type":"publish","clientSequence":true,"eventType":"CHAT","data":{}}',
    "clientSequence above 2^53": '{"type":"publish","clientSequence":9007199254740993,"eventType":"CHAT","data":{}}',
    "data that is a list": '{"type":"publish","clientSequence":1,"eventType":"CHAT","data":[]}',
    "data that is null": '{"type":"publish","clientSequence":1,"eventType":"CHAT","data":null}',
    "an empty eventType": '{"type":"publish","clientSequence":1,"eventType":"","data":{}}',
    "an eventType of 65 characters": f'{{"type":"publish","clientSequence":1,"eventType":"{"A" * 65}","data":{{}}}}',
    "after that is clientSequence": '{"type":"publish","clientSequence":1,"eventType":"CHAT","data":{},"after":1}',
    "cursor without data": '{"type":"cursor"}',
    "cursor that is too large": json.dumps({"type": "cursor", "data": {"text": "x" * CURSOR_BYTES_MAX}}),
    "ack without number": '{"type":"ack"}',
    "a negative ack": '{"type":"ack","sequenceNumber":-1}',
    "ack above the head": '{"type":"ack","sequenceNumber":9000000000}',
    "ping without nonce": '{"type":"ping"}',
    "ping with a negative nonce": '{"type":"ping","nonce":-1}',
    "ping with a negative round trip": '{"type":"ping","nonce":1,"roundTripMs":-1}',
    "a report with a negative tally": '{"type":"ping","nonce":1,"report":{"gaps":-1}}',
    "a report with 9 recoveries": json.dumps({"type": "ping", "nonce": 1, "report": {"recoveries": [{"recoveryMs": 1}] * 9}}),
    "auth without token": '{"type":"auth"}',
}
FRAME_CLAUSES = {"publish": "4.3", "cursor": "4.4", "ack": "4.5", "ping": "4.6", "auth": "4.7"}


@case("frames.no_frames", "3.3 3.2 3.10 6.1 4.20")
async def no_frames(bench: ServerBench) -> None:
    """Messages that are no frames of a client are refused with 4400, before and after the welcome"""
    run = await bench.shared_run()
    for what, message in BAD_MESSAGES.items():
        for peer in (await bench.join(run), await bench.upgraded(run)):
            await peer.send_raw(message)
            await _refused(peer, what, "3.3")


@case("frames.binary", "3.2")
async def binary(bench: ServerBench) -> None:
    """A binary message is refused with 4400"""
    peer = await bench.join(await bench.shared_run())
    await peer.send_binary(b'{"type": "ping", "nonce": 1}', type="ping", nonce=1)
    await _refused(peer, "a binary message", "3.2")


@case("frames.bad_hello", "4.2 4.1 3.3")
async def bad_hello(bench: ServerBench) -> None:
    """A hello with a missing or bad field is refused with 4400"""
    run = await bench.shared_run()
    for what, fields in BAD_HELLOS.items():
        peer = await bench.upgraded(run)
        await peer.send("hello", **{"protocol": 1, "clientId": bench.client_id(), "token": bench.token()} | fields)
        await _refused(peer, what, "4.2")


@case("frames.bad_values", "3.3 4.1 4.3 4.4 4.5 4.6 4.7 9.4")
async def bad_values(bench: ServerBench) -> None:
    """Frames with missing fields, or values outside of their bounds, are refused with 4400"""
    run = await bench.shared_run()
    for what, message in BAD_FRAMES.items():
        peer = await bench.join(run)
        await peer.send_raw(message)
        await _refused(peer, what, FRAME_CLAUSES[json.loads(message)["type"]])


async def _refused(peer: ServerPeer, what: str, clause: str) -> None:
    try:
        await peer.closed(4400, clause)
    except CaseFailed as error:
        raise CaseFailed(error.clause, f"{what}: {error}") from None


@case("frames.unknown_fields", "3.3 4.6 7.41")
async def unknown_fields(bench: ServerBench) -> None:
    """Unknown fields are ignored, and null is the same as leaving an optional field out"""
    peer = await bench.upgraded(await bench.shared_run())
    hello = {
        "type": "hello", "protocol": 1, "clientId": bench.client_id(), "token": bench.token(),
        "sessionId": None, "epoch": None, "afterSequence": None, "colour": "red", "nested": {"a": [1]},
    }  # fmt: skip
    await peer.send_raw(json.dumps(hello))
    await peer.expect("welcome", "3.3")
    await peer.send("ping", nonce=1, roundTripMs=0.5, report={"failedAttempts": 1, "mood": "good"}, colour="red")
    await peer.expect("pong", "3.3")
    await peer.send_frames(
        [{"type": "publish", "clientSequence": 1, "eventType": "CHAT", "data": {}, "after": None, "userId": "mallory"}]
    )
    answer = await peer.answer(1, "3.3")
    require(answer["type"] == "accepted", "3.3", f"a publish with an unknown field was rejected: {answer}")
    await peer.events_up_to(answer["sequenceNumber"])


@case("frames.ping", "4.17 4.6 4.1 7.41")
async def ping(bench: ServerBench) -> None:
    """A ping is answered with its nonce, on its connection and on no other"""
    run = await bench.shared_run()
    peer, other = await bench.join(run), await bench.join(run)
    for nonce in (0, 7, COUNT_MAX):
        await peer.send("ping", nonce=nonce)
        await peer.expect("pong", "4.17", where=lambda frame, nonce=nonce: frame["nonce"] == nonce)  # type: ignore[misc]
    report = {"failedAttempts": 2, "recoveries": [{"recoveryMs": 5210, "silenceMs": 20_000}]}
    await peer.send("ping", nonce=8, roundTripMs=41.7, report=report)
    await peer.expect("pong", "4.6", where=lambda frame: frame["nonce"] == 8)
    await other.settle()


@case("frames.websocket_ping", "3.12 3.7")
async def websocket_ping(bench: ServerBench) -> None:
    """WebSocket's own ping and pong frames, also before hello, are no frames of the protocol"""
    run = await bench.shared_run()
    peer = await bench.upgraded(run)
    await peer.websocket.send_ping()
    await peer.hello(clientId=bench.client_id(), token=bench.token())
    await peer.websocket.send_ping()
    await peer.websocket.send_pong()
    await peer.alive("3.12")


@case("frames.size", "3.2 6.1")
async def size(bench: ServerBench) -> None:
    """A message of frameBytesMax bytes is taken; one of one byte more, counted in UTF-8, is refused with 4413"""
    run = await bench.shared_run()
    peer = await bench.join(run)
    most = peer.welcome["limits"]["frameBytesMax"]
    await peer.send_raw(_ping_of(most), type="ping", nonce=5)
    await peer.expect("pong", "3.2")
    await peer.send_raw(_ping_of(most + 1), type="ping", nonce=5)
    await peer.closed(4413, "3.2")
    wide = await bench.join(run)
    text = _ping_of(most - 20)
    wide_text = text.replace("x" * 40, "ü" * 40)  # fewer characters than the limit, more bytes
    await wide.send_raw(wide_text, type="ping", nonce=5)
    await wide.closed(4413, "3.2")
    unparsed = await bench.join(run)
    await unparsed.send_raw("x" * (most + 1))
    await unparsed.closed(4413, "3.2")


def _ping_of(size: int) -> str:
    frame = '{"type":"ping","nonce":5,"filler":""}'
    return frame[:-2] + "x" * (size - len(frame)) + frame[-2:]


@case("frames.rate", "8.41 6.1")
async def rate(bench: ServerBench) -> None:
    """A connection that sends more frames than its token bucket allows is closed with 4029; pings of WebSocket count, too"""
    run = await bench.shared_run()
    talker, pinger = await bench.join(run), await bench.join(run)
    for _ in range(FRAMES_AT_MOST // 500):
        await talker.send_frames([{"type": "ack", "sequenceNumber": 0}] * 500)
    if not await _is_closed(talker):
        raise NotApplicable(f"the server takes {FRAMES_AT_MOST} frames at once; the limit is a setting")
    for _ in range(FRAMES_AT_MOST // 500):
        await pinger.websocket.send_ping(500)
    require(await _is_closed(pinger), "8.41", f"{FRAMES_AT_MOST} pings of WebSocket are taken, although as many frames are not")


async def _is_closed(peer: ServerPeer) -> bool:
    """Whether the server has closed this connection, which must be with 4029."""
    await peer.send("ping", nonce=1)
    try:
        await peer.expect("pong", "8.41")
    except CaseFailed:
        await peer.closed(4029, "8.41")
        return True
    return False


@case("frames.one_bad_peer", "3.10 6.1")
async def one_bad_peer(bench: ServerBench) -> None:
    """A connection that breaks the protocol ends; its neighbours in the run do not"""
    run = await bench.shared_run()
    good, bad = await bench.join(run), await bench.join(run)
    await bad.send_raw("{")
    await bad.closed(4400, "3.3")
    answer = await good.publish(1, "still here")
    require(answer["type"] == "accepted", "3.10", f"the neighbour of a bad peer got {answer}")
