"""The written record of a session: lines that come back as they were, and what is refused with which words."""

import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.session_record import (
    FORMAT_VERSION,
    EventCame,
    PublishSettled,
    RecordStarted,
    SessionLine,
    SessionTurned,
    decode_lines,
    encode_line,
)
from reference.protocol.states import ClientState

START = RecordStarted(
    at=0,
    began_ms=1_700_000_000_000,
    run_id="run-1",
    client_id="client-1",
    state=ClientState.LIVE,
    is_carried=True,
    config=ClientConfig(poll_interval_s=7.0),
    policy=Fixed(seconds=2.0, spread_s=0.1),
)
LINES: list[SessionLine] = [
    START,
    SessionTurned(at=5, state=ClientState.WAITING, is_carried=False),
    PublishSettled(at=6, ticket=1, sequence_number=9),
    EventCame(at=7, sequence_number=9, event_type="CHAT", size_bytes=40),
]


def test_a_record_comes_back_as_it_was_written() -> None:
    content = b"".join(map(encode_line, LINES))
    assert content.count(b"\n") == len(LINES)
    assert decode_lines(content) == LINES


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    content = b"".join(map(encode_line, LINES))
    for cut in (1, 10):
        assert decode_lines(content[:-cut]) == LINES[:-1]


def test_the_line_that_is_none_is_named_by_its_number() -> None:
    with pytest.raises(ConfigError, match=r"^line 1 is no line of a session's record: "):
        decode_lines(b"{}\n")
    with pytest.raises(ConfigError, match=r"^line 3 is no line of a session's record: .*truncated"):
        decode_lines(b"".join(map(encode_line, LINES[:2])) + b'{"record":\n')
    with pytest.raises(ConfigError, match=r"^line 2 is no line"):
        decode_lines(encode_line(START) + b"\xff\n")


@pytest.mark.parametrize("content", [b"", encode_line(START)[:-1], encode_line(LINES[1]) + encode_line(START)])
def test_a_record_begins_with_its_start(content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^a session's record begins with record_started, format version 2$"):
        decode_lines(content)


def test_a_record_of_a_later_format_is_refused() -> None:
    later = encode_line(START).replace(b'"record_started"', b'"record_started","formatVersion":%d' % (FORMAT_VERSION + 1))
    assert later != encode_line(START)
    with pytest.raises(ConfigError, match=r"format version 2$"):
        decode_lines(later + encode_line(LINES[1]))
