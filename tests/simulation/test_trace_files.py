"""A file that is no trace is refused with its line."""

from pathlib import Path

import pytest

from reference.protocol.errors import ConfigError
from simulation.trace.publishes import publish_data, publish_id_of
from simulation.trace.trace import Trace
from tests.simulation.worlds import everything_result


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with trace_started"),
        (b"{", "line 1: not a record"),
        (b'{"record":"delivered","at":1}', "line 1: not a record"),
        (b'{"record":"server_killed","at":1}', "begins with trace_started"),
        (b"\xff\xfe", "line 1: not a record"),
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


def test_a_publish_is_known_by_its_data() -> None:
    assert publish_id_of(publish_data("a:1", step="s")) == "a:1"
    assert publish_id_of({"step": "s"}) is None
    assert publish_id_of({"publishId": 3}) is None
