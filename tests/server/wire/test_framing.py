"""Frames with wsproto as the other side, and the message reader with the bytes split in every way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.wire.websocket import FRAMES_PER_TURN_MAX, MessageReader, PeerClose, frame_close, frame_text

from .helpers import client_frame, close_frame, text


def read_as_client(data: bytes) -> list[object]:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_text_frame_is_read_by_a_client(length: int) -> None:
    events = read_as_client(frame_text(b"x" * length))
    assert all(isinstance(event, TextMessage) for event in events)
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "x" * length


@given(st.one_of(st.sampled_from([1000, 1001, 1011]), st.integers(3000, 4999)), st.text(max_size=200))
def test_a_close_frame_is_read_by_a_client(code: int, reason: str) -> None:
    (event,) = read_as_client(frame_close(code, reason))
    assert isinstance(event, CloseConnection)
    assert int(event.code) == code
    whole = reason.encode(errors="replace").decode()
    assert whole.startswith(event.reason or "")
    assert len((event.reason or "").encode()) > 119 or event.reason == whole or not whole


@pytest.mark.parametrize("code", [0, 999, 1002, 1005, 1006, 1015, 2999, 5000])
def test_codes_that_are_not_ours_to_send_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        frame_close(code)


def feed(pieces: list[bytes]) -> tuple[MessageReader, list[str | RemoteError], int]:
    """What was read, and how many frames."""
    reader = MessageReader(message_bytes_max=300, fragments_max=3)
    reads = []
    for piece in pieces:
        reads.append(reader.feed(piece))
        while reader.is_behind:
            reads.append(reader.feed(b""))
    return reader, [message for read in reads for message in read.messages], sum(read.frames for read in reads)


OPENINGS = st.lists(
    st.one_of(
        st.integers(0, 300).map(lambda count: text("x" * count)),
        st.just(client_frame(0x9, b"ping")),
        st.just(client_frame(0x1, b"a" * 200, fin=False) + client_frame(0xA) + client_frame(0x0, b"b" * 100)),
    ),
    max_size=4,
).map(b"".join)
VIOLATIONS = st.sampled_from(
    [
        (client_frame(0x2, b"binary"), CloseCode.BAD_FRAME),
        (text("x" * 301), CloseCode.TOO_BIG),
        (text("é" * 151), CloseCode.TOO_BIG),
        (client_frame(0x1, b"a" * 200, fin=False) + client_frame(0x0, b"b" * 101), CloseCode.TOO_BIG),
        (client_frame(0x1, fin=False) + client_frame(0x0, fin=False) * 3, CloseCode.TOO_BIG),
    ]
)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.data(), OPENINGS, VIOLATIONS)
def test_a_violation_is_found_however_the_bytes_are_cut(
    data: st.DataObject, opening: bytes, violation: tuple[bytes, CloseCode]
) -> None:
    wrong, code = violation
    _, expected, _ = feed([opening])
    reader, messages, _ = feed(data.draw(cuts(opening + wrong + client_frame(0x9, b"too late") + close_frame(4321))))
    assert messages[:-1] == expected, "what came before is still heard, and nothing after it"
    assert isinstance(messages[-1], RemoteError)
    assert messages[-1].code == code
    assert reader.close == PeerClose(4321, "")


@given(st.data(), OPENINGS)
def test_what_is_allowed_is_read_however_the_bytes_are_cut(data: st.DataObject, opening: bytes) -> None:
    reader, messages, frames = feed(data.draw(cuts(opening)))
    assert messages == feed([opening])[1]
    assert frames == feed([opening])[2] >= len(messages)
    assert reader.close is None


def test_every_frame_of_a_read_is_counted_and_the_last_ping_is_reported() -> None:
    reader = MessageReader(message_bytes_max=300, fragments_max=3)
    whole = text("a") + client_frame(0x9, b"1") + client_frame(0x1, b"b", fin=False) + client_frame(0x9, b"2") + client_frame(0x0)
    first, then = reader.feed(whole[:-3]), reader.feed(whole[-3:])
    assert (first.messages, first.frames, first.ping) == (["a"], 4, b"2")
    assert (then.messages, then.frames) == (["b"], 1)


def test_a_turn_parses_so_many_frames_and_the_next_turn_goes_on() -> None:
    reader = MessageReader(message_bytes_max=300, fragments_max=3)
    sent = [str(number) for number in range(2 * FRAMES_PER_TURN_MAX + 1)]
    turns = [reader.feed(b"".join(map(text, sent)) + close_frame(4321))]
    while reader.is_behind:
        turns.append(reader.feed(b""))
    assert [turn.frames for turn in turns] == [FRAMES_PER_TURN_MAX, FRAMES_PER_TURN_MAX, 2]
    assert [message for turn in turns for message in turn.messages] == sent
    assert reader.close == PeerClose(4321, "")


def test_what_follows_a_refusal_is_not_parsed_in_the_same_turn() -> None:
    reader = MessageReader(message_bytes_max=300, fragments_max=3)
    read = reader.feed(client_frame(0x2, b"binary") + client_frame(0x9) * 50)
    assert (read.frames, len(read.messages), reader.is_behind) == (1, 1, True)


def test_a_connection_that_closes_parses_a_few_frames_more_and_then_nothing() -> None:
    reader = MessageReader(message_bytes_max=300, fragments_max=3)
    reader.end_within(2)
    assert reader.feed(client_frame(0x9)).frames == 1
    assert reader.feed(client_frame(0x9) * 3 + close_frame()).frames == 1
    assert reader.feed(client_frame(0x9)).frames == 0
    assert (reader.close, reader.is_behind) == (None, False)


def test_a_message_that_is_too_long_is_refused_before_it_has_come() -> None:
    _, messages, _ = feed([client_frame(0x1, b"x" * 301, declared=2**62)])
    assert isinstance(messages[0], RemoteError)
    assert messages[0].code == CloseCode.TOO_BIG


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_the_reader_survives_anything(pieces: list[bytes]) -> None:
    _, messages, _ = feed(pieces)
    assert not any(isinstance(message, RemoteError) for message in messages[:-1])
