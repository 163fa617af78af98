"""The end of a frame is found however the bytes are split."""

from hypothesis import given
from hypothesis import strategies as st

from reference.server.cluster.upgrade_relay import FrameBoundaries
from reference.server.wire.websocket import frame_text

from .wire.helpers import client_frame, close_frame

sizes = st.lists(st.sampled_from([0, 1, 2, 125, 126, 127, 65_535, 65_536, 70_000]), max_size=4)


@given(sizes, st.data())
def test_it_is_between_two_frames_exactly_there(payloads: list[int], data: st.DataObject) -> None:
    stream = b""
    ends = {len(stream)}
    for size in payloads:
        stream += frame_text(b"x" * size)
        ends.add(len(stream))
    near = sorted({min(len(stream), max(1, end + step)) for end in ends for step in range(-12, 4)})
    cuts = data.draw(st.lists(st.sampled_from(near), unique=True).map(sorted))
    boundaries = FrameBoundaries()
    assert boundaries.is_between
    fed = 0
    for cut in [*cuts, len(stream)]:
        boundaries.feed(stream[fed:cut])
        fed = max(fed, cut)
        assert boundaries.is_between == (fed in ends)


@given(sizes, st.integers(1, 80_000))
def test_a_client_s_close_frame_is_seen_when_it_comes_and_not_before(payloads: list[int], piece: int) -> None:
    before = b"".join(client_frame(0x1, b"\x88" * size) for size in payloads)
    boundaries = FrameBoundaries()
    for at in range(0, len(before), piece):
        boundaries.feed(before[at : at + piece])
        assert not boundaries.is_close_seen
    assert boundaries.is_between
    boundaries.feed(close_frame())
    assert boundaries.is_close_seen
