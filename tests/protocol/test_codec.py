"""Bytes to frames and back: a decoded frame equals the encoded one, and no input does more than end its connection."""

import json
import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import (
    FRAME_BYTES_MAX,
    SERVER_FRAME_BYTES_MAX,
    decode_answer,
    decode_client_frame,
    decode_publish_request,
    decode_server_frame,
    encode,
    encoded_bytes,
)
from reference.protocol.limits import Limit
from simulation.testing.frames import frames_of, json_values, nearly

from .machines import EXAMPLES, chat

Decode = Callable[[bytes], frames.Frame]

DECODERS: dict[Any, Decode] = {
    **dict.fromkeys(typing.get_args(frames.ClientFrame), decode_client_frame),
    **dict.fromkeys(typing.get_args(frames.ServerFrame), decode_server_frame),
    frames.PublishRequest: lambda body: decode_publish_request(body, FRAME_BYTES_MAX),
    frames.PollAnswer: lambda body: decode_answer(frames.PollRequest(), body),
    frames.PublishAnswer: lambda body: decode_answer(frames.PublishRequest(client_id="c"), body),
}
"""How each frame that travels as JSON is read. A poll request travels as parameters, a failed request not at all."""
WRONG = {CloseCode.BAD_FRAME, CloseCode.TOO_BIG}
KINDS = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in DECODERS])
HELLO = b'{"type":"hello","protocol":1,"clientId":"client-1"%s}'
BOTH_OR_NEITHER = "not a frame of this protocol: a position is an epoch and an afterSequence; send both or neither"


def refusal(decode: Decode, message: bytes | str) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        decode(message)  # type: ignore[arg-type]
    return caught.value


def understood_or_refused(decode: Decode, message: bytes) -> None:
    """What decodes is a frame that can be said again; what does not is refused, and never in another way."""
    refused: RemoteError | None = None
    try:
        frame = decode(message)
    except RemoteError as error:
        refused = error
    if refused is None:
        assert decode(encode(frame)) == frame
    else:
        assert refused.code in WRONG
        assert refused.message


def test_every_frame_that_travels_as_json_is_tested_here() -> None:
    assert set(DECODERS) == set(frames.Frame.__subclasses__()) - {frames.PollRequest, frames.RequestFailed}


# What is said is what is heard.


@KINDS
def test_a_frame_survives_the_way(kind: type[frames.Frame]) -> None:
    @settings(max_examples=12)
    @given(frames_of(kind))
    def survives(frame: frames.Frame) -> None:
        wire = encode(frame)
        heard = DECODERS[kind](wire)
        assert heard == frame
        assert type(heard) is kind
        assert encode(heard) == wire
        assert encoded_bytes(frame) == len(wire)

    survives()


@settings(max_examples=15)
@given(frames_of(frames.Message))
def test_a_message_is_the_same_publish_on_either_transport(message: frames.Message) -> None:
    (alone,) = msgspec.json.decode(encode(frames.PublishRequest(client_id="c", messages=(message,))))["messages"]
    over_websocket = msgspec.json.decode(encode(message.as_frame()))
    assert over_websocket.pop("type") == "publish"
    assert over_websocket == alone


def test_the_names_on_the_wire_are_camel_case_and_the_type_comes_first() -> None:
    wire = encode(frames.Hello(protocol=1, client_id="c", session_id="s", epoch="e", after_sequence=4))
    assert list(json.loads(wire)) == ["type", "protocol", "clientId", "sessionId", "epoch", "afterSequence"]
    (event,) = json.loads(encode(EXAMPLES[frames.Events]))["events"]
    assert set(event) == {"eventType", "userId", "timestamp", "sequenceNumber", "data", "isCritical"}


def test_an_unknown_field_is_passed_over_so_that_a_newer_peer_is_understood() -> None:
    assert decode_client_frame(HELLO % b',"colour":"red"') == EXAMPLES[frames.Hello]


# What is no frame is refused.


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(message: bytes) -> None:
    for decode in DECODERS.values():
        understood_or_refused(decode, message)


@KINDS
def test_nearly_valid_bytes_are_understood_or_refused(kind: type[frames.Frame]) -> None:
    @settings(max_examples=20)
    @given(nearly(encode(EXAMPLES[kind])))
    def understood(message: bytes) -> None:
        understood_or_refused(DECODERS[kind], message)

    understood()


@settings(max_examples=40)
@given(st.data())
def test_a_field_of_another_kind_is_understood_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(DECODERS)))
    fields = json.loads(encode(EXAMPLES[kind]))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(json_values)
    understood_or_refused(DECODERS[kind], json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: Input data was truncated"),
        (b"\xff\xfe", "not JSON"),
        (b'{"type":"\xff"', "not JSON: "),
        (b"null", "not a frame"),
        (b"[]", "not a frame"),
        (b"{}", "type"),
        (b'{"type":"dance"}', "dance"),
        (b'{"type":5}', "type"),
        (HELLO % b',"afterSequence":3', BOTH_OR_NEITHER),
        (HELLO % b',"epoch":"e"', BOTH_OR_NEITHER),
        (HELLO % b',"afterSequence":-1,"epoch":"e"', "afterSequence"),
        (HELLO % b',"generation":0', "generation"),
        (HELLO % b',"start":"middle"', "start"),
        (b'{"type":"hello","protocol":1,"clientId":""}', "clientId"),
        (b'{"type":"hello","protocol":1,"clientId":"a b"}', "clientId"),
        pytest.param(b'{"type":"hello","protocol":1,"clientId":"a\\n"}', "clientId", id="trailing newline"),
        (b'{"type":"hello","protocol":1,"clientId":"' + b"c" * 129 + b'"}', "clientId"),
        (b'{"type":"ack","sequenceNumber":9007199254740993}', "sequenceNumber"),
        (b'{"type":"ack","sequenceNumber":NaN}', "not JSON"),
        (b'{"type":"ack","sequenceNumber":1e400}', "sequenceNumber"),
        (b'{"type":"ping"}', "not a frame of this protocol: Object missing required field `nonce`"),
        (b'{"type":"ping","nonce":0,"roundTripMs":-0.5}', "roundTripMs"),
        (b'{"type":"cursor","data":{"x":NaN}}', "not JSON"),
        (b'{"type":"cursor","data":{"x":Infinity}}', "not JSON"),
        (b'{"type":"cursor","data":{"x":' + b"1" * 5000 + b"}}", "data"),
        (b'{"type":"cursor","data":[1]}', "data"),
        (b'{"type":"cursor","data":{"x":"\\ud800"}}', "not JSON"),
        (b'{"type":"cursor","data":{"x":"\xed\xa0\x80"}}', "not JSON"),
        (b'{"type":"publish","clientSequence":0,"eventType":"CHAT","data":{}}', "clientSequence"),
        (b'{"type":"publish","clientSequence":2,"eventType":"CHAT","data":{},"after":2}', "after must be below clientSequence"),
        (b'{"type":"welcome"}', "welcome"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said(message: bytes, says: str) -> None:
    error = refusal(decode_client_frame, message)
    assert error.code is CloseCode.BAD_FRAME
    assert says in error.message


def test_a_message_may_name_the_number_just_below_its_own() -> None:
    wire = b'{"type":"publish","clientSequence":3,"eventType":"CHAT","data":{},"after":2}'
    assert decode_client_frame(wire) == frames.Publish(client_sequence=3, event_type="CHAT", data={}, after=2)
    assert frames.Message(client_sequence=3, event_type="CHAT", data={}, after=0).as_frame().after == 0
    with pytest.raises(ValueError, match=r"^after must be below clientSequence$"):
        frames.Message(client_sequence=3, event_type="CHAT", data={}, after=3)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ([None], "an event without a sequence number among numbered ones"),
        ([0, 1], "an event without a sequence number among numbered ones"),
        ([1, 3], "event 3 stands where 2 belongs"),
        ([2, 1], "event 1 stands where 3 belongs"),
        ([4, 5, 5], "event 5 stands where 6 belongs"),
        ([5, None], "event None stands where 6 belongs"),
    ],
    ids=str,
)
def test_events_that_are_not_contiguous_are_refused(numbers: list[int | None], says: str) -> None:
    events = tuple(chat(number) for number in numbers)
    with pytest.raises(ValueError, match=f"^{says}$"):
        frames.Events(events)
    with pytest.raises(ValueError, match=f"^{says}$"):
        msgspec.structs.replace(EXAMPLES[frames.PollAnswer], events=events)
    error = refusal(decode_server_frame, msgspec.json.encode({"type": "events", "events": events}))
    assert (error.code, error.message) == (CloseCode.BAD_FRAME, f"not a frame of this protocol: {says}")


def test_a_lone_surrogate_in_text_is_refused_like_one_in_bytes() -> None:
    assert refusal(decode_client_frame, '{"type":"cursor","data":{"x":"\ud800"}}').code is CloseCode.BAD_FRAME


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_that_nests_too_deeply_is_refused(opening: bytes) -> None:
    deep = HELLO % (b',"colour":' + opening * 10_000)
    for message in (deep, b'{"type":"cursor","data":{"x":' + opening * 10_000):
        error = refusal(decode_client_frame, message)
        assert (error.code, error.message) == (CloseCode.BAD_FRAME, "JSON that nests too deeply")
    assert refusal(decode_client_frame, b'{"type":"auth","token":' + opening * 10_000).code is CloseCode.BAD_FRAME


def test_an_answer_is_what_was_asked_for() -> None:
    poll, publish = EXAMPLES[frames.PollRequest], EXAMPLES[frames.PublishRequest]
    published = encode(frames.PublishAnswer((), "epoch-1"))
    assert decode_answer(publish, published) == frames.PublishAnswer((), "epoch-1")  # type: ignore[arg-type]
    polled = encode(EXAMPLES[frames.PollAnswer])
    assert decode_answer(poll, polled) == EXAMPLES[frames.PollAnswer]  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        decode_answer(poll, published)  # type: ignore[arg-type]
    for asked, answer in ((poll, polled), (publish, published)):
        with pytest.raises(RemoteError, match="the limit is 5"):
            decode_answer(asked, answer, 5)  # type: ignore[arg-type]


# Limits, to the byte.


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("as_text", [False, True])
def test_the_limit_of_a_frame_is_exact_in_bytes_of_utf8(letter: str, as_text: bool) -> None:
    wire = '{"type":"cursor","data":{"x":"' + letter * 50 + '"}}'
    message: str | bytes = wire if as_text else wire.encode()
    size = len(wire.encode())
    assert decode_client_frame(message, size) == frames.Cursor({"x": letter * 50})
    with pytest.raises(RemoteError, match=f"a frame of {size} bytes; the limit is {size - 1}") as caught:
        decode_client_frame(message, size - 1)
    assert (caught.value.code, caught.value.limit) == (CloseCode.TOO_BIG, Limit.FRAME_BYTES)


def test_the_default_limits_are_those_of_either_side() -> None:
    def cursor(size: int) -> bytes:
        empty = b'{"type":"cursor","data":{"x":""}}'
        return empty[:-3] + b"x" * (size - len(empty)) + empty[-3:]

    def error(size: int) -> bytes:
        empty = b'{"type":"error","code":4001,"message":""}'
        return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]

    assert isinstance(decode_client_frame(cursor(FRAME_BYTES_MAX)), frames.Cursor)
    assert refusal(decode_client_frame, cursor(FRAME_BYTES_MAX + 1)).code is CloseCode.TOO_BIG
    assert isinstance(decode_server_frame(error(SERVER_FRAME_BYTES_MAX)), frames.Error)
    assert refusal(decode_server_frame, error(SERVER_FRAME_BYTES_MAX + 1)).code is CloseCode.TOO_BIG


def test_size_is_judged_before_anything_is_parsed() -> None:
    assert refusal(decode_client_frame, b"[" * (FRAME_BYTES_MAX + 1)).code is CloseCode.TOO_BIG


def test_a_publish_request_has_at_most_64_messages_and_needs_no_type() -> None:
    message = {"clientSequence": 1, "eventType": "CHAT", "data": {}}
    body = json.dumps({"clientId": "c", "messages": [message] * 64}).encode()
    assert len(decode_publish_request(body, FRAME_BYTES_MAX).messages) == 64
    too_many = json.dumps({"clientId": "c", "messages": [message] * 65}).encode()
    assert refusal(lambda wire: decode_publish_request(wire, FRAME_BYTES_MAX), too_many).code is CloseCode.BAD_FRAME
    assert decode_publish_request(b'{"clientId":"c"}', 16) == frames.PublishRequest(client_id="c")
    assert refusal(lambda wire: decode_publish_request(wire, 15), b'{"clientId":"c"}').message.endswith("the limit is 15")
