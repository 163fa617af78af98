"""Frames against wsproto as the other side, and the meter against every way of cutting the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage

from reference.protocol.errors import CloseCode
from reference.server.wire.framing import MessageMeter, frame_close, frame_text

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


def feed(pieces: list[bytes]) -> tuple[MessageMeter, int]:
    meter = MessageMeter(message_bytes_max=300, fragments_max=3)
    return meter, sum(meter.feed(piece) for piece in pieces)


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
def test_the_meter_finds_a_violation_however_the_bytes_are_cut(
    data: st.DataObject, opening: bytes, violation: tuple[bytes, CloseCode]
) -> None:
    wrong, code = violation
    meter, good = feed(data.draw(cuts(opening + wrong + close_frame())))
    assert meter.violation is not None
    assert meter.violation.code == code
    assert meter.is_close_seen
    assert len(opening) <= good < len(opening + wrong)


@given(st.data(), OPENINGS)
def test_the_meter_lets_pass_what_is_allowed(data: st.DataObject, opening: bytes) -> None:
    meter, good = feed(data.draw(cuts(opening)))
    assert meter.violation is None
    assert not meter.is_close_seen
    assert good == len(opening)


def test_a_message_is_too_long_before_it_has_come() -> None:
    meter, good = feed([client_frame(0x1, declared=2**62)])
    assert meter.violation is not None
    assert good == 0


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_the_meter_survives_anything(pieces: list[bytes]) -> None:
    meter, good = feed(pieces)
    assert good <= sum(map(len, pieces))
    assert meter.violation is not None or good == sum(map(len, pieces))
