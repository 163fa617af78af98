"""Arbitrary and nearly valid bytes against the codec: a frame, or one of two codes; never anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from simulation.testing import frames_of, nearly
from simulation.testing.frames import ANSWER_FRAMES, CLIENT_FRAMES, SERVER_FRAMES

_ALL = st.sampled_from(CLIENT_FRAMES + SERVER_FRAMES + ANSWER_FRAMES).flatmap(frames_of).map(frames.encode)
_deep = st.integers(1, 3000).map(lambda depth: b'{"type":"cursor","data":' + b"[" * depth + b"]" * depth + b"}")
_numbers = st.sampled_from([b"1e400", b"-0", b"9" * 400, b"1" + b"0" * 30, b"0.1e-400", b"NaN", b"-Infinity"]).map(
    lambda number: b'{"type":"ack","sequenceNumber":' + number + b"}"
)
messages = st.binary(max_size=200) | _ALL.flatmap(nearly) | _deep | _numbers | st.text(max_size=60)


@given(message=messages, bytes_max=st.sampled_from([20, 300, 10_000]))
def test_bytes_are_a_frame_or_a_mistake_of_the_other_side(message: bytes | str, bytes_max: int) -> None:
    size = len(message) if isinstance(message, bytes) else len(message.encode(errors="surrogatepass"))
    poll = frames.PollRequest(client_id="c")
    for decode in (
        lambda: frames.decode_client_frame(message, bytes_max),
        lambda: frames.decode_server_frame(message, bytes_max),
        lambda: frames.decode_publish_request(message, bytes_max) if isinstance(message, bytes) else None,
        lambda: frames.decode_answer(poll, message, bytes_max) if isinstance(message, bytes) else None,
    ):
        outcome: object
        try:
            outcome = decode()
        except RemoteError as error:
            outcome = error
        if isinstance(outcome, RemoteError):
            assert outcome.code == (CloseCode.TOO_BIG if size > bytes_max else CloseCode.BAD_FRAME)
            assert "\n" not in outcome.message
        elif isinstance(outcome, frames.Frame):
            assert frames.encode(outcome)


@given(wire=_ALL)
def test_what_is_understood_says_the_same_again(wire: bytes) -> None:
    """A frame that is read and written once more is the same frame, whichever side it belongs to."""
    for decode in (frames.decode_client_frame, frames.decode_server_frame):
        try:
            frame = decode(wire, len(wire))
        except RemoteError:
            continue
        assert decode(frames.encode(frame), 10**6) == frame


@pytest.mark.parametrize("decode", [frames.decode_client_frame, frames.decode_server_frame])
def test_a_message_above_the_limit_is_refused_before_it_is_read(decode: object) -> None:
    """Not JSON at all, and too big: it is the size that is judged."""
    with pytest.raises(RemoteError) as error:
        decode(b"{" * 1000, 999)  # type: ignore[operator] - either of the two functions
    assert error.value.code == CloseCode.TOO_BIG
