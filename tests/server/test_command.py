"""What `steadywire serve` says and returns when it cannot start, and what can be set."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from reference.protocol.errors import ConfigError
from reference.server.command import serve_command
from reference.server.settings import ServerSettings

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """The command lets the log go to stderr, which here is one test's own."""
    yield
    structlog.reset_defaults()


def refused(capsys: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """The one line on stderr."""
    assert serve_command(**arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("steadywire serve: ")
    assert err.count("\n") == 1
    return err


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(capsys, port=port, store="memory:")


def test_a_store_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "does not exist" in refused(capsys, port=0, store=str(tmp_path / "no" / "where.sqlite3"))
    assert "known are" in refused(capsys, port=0, store="mysql://host/db")
    (tmp_path / "text.sqlite3").write_text("this is no database, but it is long enough to be looked at" * 20)
    assert "text.sqlite3" in refused(capsys, port=0, store=str(tmp_path / "text.sqlite3"))


def test_an_open_host_without_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.org", "::"):
        assert "--secret-file" in refused(capsys, host=host, port=0, store="memory:")


def test_a_bad_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "port = 65536" in refused(capsys, port=65536, store="memory:")
    assert "app.example" in refused(capsys, port=0, store="memory:", allowed_origins=("app.example",))
    assert "nowhere" in refused(capsys, port=0, store="memory:", secret_file=tmp_path / "nowhere")
    short = tmp_path / "short"
    short.write_text("secret\n")
    assert "at least 32" in refused(capsys, port=0, store="memory:", secret_file=short)


def test_a_host_that_is_not_this_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    assert "192.0.2.1" in refused(capsys, host="192.0.2.1", port=0, store="memory:", secret_file=secret)


@pytest.mark.parametrize(
    "settings",
    [
        {"port": -1},
        {"port": "80"},
        {"control_frames_max": 0},
        {"loaded_runs_max": 1.5},
        {"stop_timeout_s": -1},
        {"stop_timeout_s": float("nan")},
        {"go_away_spread_s": 1e9},
        {"event_types": ("GRAFT",)},
        {"event_types": ("no good",)},
    ],
)
def test_a_setting_that_cannot_work_names_itself(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ServerSettings(**settings)
    name = next(iter(settings))
    assert name in str(caught.value) or name == "event_types"


def test_a_secret_is_not_shown() -> None:
    assert "0123456789" not in repr(ServerSettings(secret=SECRET))
