"""A file that is not a trace is refused, and the error names the line."""

from pathlib import Path

import pytest

from reference.protocol.errors import ConfigError
from simulation.trace.publishes import publish_data, publish_id_of
from simulation.trace.trace import Trace
from tests.simulation.worlds import everything_result


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no trace"),
        (b"{", "is no trace"),
        (b'{"record":"delivered","at":1}', "first line is no trace_started"),
        (b'{"record":"trace_started","at":0,"world":"real","seed":1}', "format version 1; this version reads format version 2"),
        (b"\xff\xfe", "is no trace"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Trace.read(tmp_path / "t")


def test_a_later_line_is_named(tmp_path: Path) -> None:
    everything_result().trace.write(tmp_path / "t")
    lines = (tmp_path / "t").read_bytes().splitlines()
    lines[2] = b'{"record":"no_such_thing","at":1}'
    (tmp_path / "t").write_bytes(b"\n".join(lines))
    with pytest.raises(ConfigError, match="line 3: not a record"):
        Trace.read(tmp_path / "t")


def test_the_version_stands_in_the_first_line(tmp_path: Path) -> None:
    everything_result().trace.write(tmp_path / "t")
    first = (tmp_path / "t").read_bytes().splitlines()[0]
    assert b'"format_version":2' in first
    assert list(Trace.read(tmp_path / "t")) == list(everything_result().trace)


def test_a_publish_is_known_by_its_data() -> None:
    assert publish_id_of(publish_data("a:1", step="s")) == "a:1"
    assert publish_id_of({"step": "s"}) is None
    assert publish_id_of({"publishId": 3}) is None
