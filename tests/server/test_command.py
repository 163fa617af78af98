"""`steadywire serve`: its messages and exit codes when it cannot start, and its settings."""

import io
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reference.cli.serve_command import _serve_and_announce, serve_command, within_descriptors
from reference.protocol.errors import ConfigError
from reference.server.access.auth import Holder, TokenAuthenticator, secret_key
from reference.server.monitoring.logs import LogQueue
from reference.server.settings import ServerSettings, load_settings
from simulation.cli import run

SECRET = b"0123456789abcdef0123456789abcdef"


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
    assert "unknown kind of store" in refused(capsys, port=0, store="mysql://host/db")
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


# Settings from a file.


def load(tmp_path: Path, text: str, **given: Any) -> ServerSettings:
    path = tmp_path / "server.toml"
    path.write_text(text)
    return load_settings(path, **given)


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    settings = load(
        tmp_path,
        """
        host = "0.0.0.0"
        port = 9000
        store = "memory:"
        secret_file = "secret"
        allowed_origins = ["https://app.example"]
        event_types = ["CHAT", "VOTE"]
        connections_per_user_max = 7
        go_away_spread_s = 9

        [protocol]
        frame_bytes_max = 32768
        unanswered_max = 16

        [door]
        head_timeout_s = 3
        connections_max = 50

        [websocket]
        close_timeout_s = 2

        [listening]
        backlog_connections = 10
        """,
    )
    assert (settings.host, settings.port, settings.store, settings.secret) == ("0.0.0.0", 9000, "memory:", SECRET)
    assert (settings.allowed_origins, settings.event_types) == (("https://app.example",), ("CHAT", "VOTE"))
    assert (settings.connections_per_user_max, settings.go_away_spread_s) == (7, 9)
    assert (settings.protocol.frame_bytes_max, settings.protocol.unanswered_max) == (32768, 16)
    assert (settings.door.head_timeout_s, settings.door.connections_max) == (3, 50)
    assert (settings.websocket.close_timeout_s, settings.listening.backlog_connections) == (2, 10)
    assert load(tmp_path, "port = 9000", port=1).port == 1, "the command line takes precedence"
    assert load_settings(None) == ServerSettings()


def test_keys_from_files(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "2026.pem").write_bytes(pem)
    (tmp_path / "old").write_bytes(SECRET)
    settings = load(tmp_path, 'host = "0.0.0.0"\npublic_key_files = ["2026.pem"]\nprevious_secret_files = ["old"]')
    assert [(key.algorithm, key.name) for key in settings.keys] == [("HS256", None), ("ES256", "2026")]
    assert not settings.is_development


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "there is no key 'prot'; did you mean 'port'?"),
        ("[protocol]\nframe_bytes = 1", "protocol: there is no key 'frame_bytes'; did you mean 'frame_bytes_max'?"),
        ("[metrics]\nx = 1", "there is no key 'metrics'; there are host, port"),
        ('port = "80"', "port = '80'"),
        ("[protocol]\nframe_bytes_max = 1", "protocol.frame_bytes_max = 1"),
        ("[door]\nhead_timeout_s = 0", "head_timeout_s must be above 0"),
        ("[door]\nhead_timeout_s = true", "door.head_timeout_s = True"),
        ("protocol = 1", "protocol: is a table: [protocol]"),
        ('secret = "0123456789abcdef0123456789abcdef"', "secret: is given as a file"),
        ('secret_file = "nowhere"', "nowhere cannot be read"),
        ('public_key_files = "x"', "give a list of files"),
        ('host = "0.0.0.0"', "--secret-file"),
        ("port = ", "invalid TOML"),
        ("session_records_max = 0", "session_records_max = 0"),
        ("accepts_per_s = 0", "accepts_per_s = 0"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "cannot read" in refused(capsys, config=tmp_path / "nowhere.toml")


# Tokens.


def test_a_token_for_development(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    run_id = "01234567-89ab-cdef-0123-456789abcdef"
    words = ["token", "--user", "ada", "--secret-file", str(secret), "--runs", run_id.upper(), "--role", "admin", "--ttl", "60"]
    assert run(words) == 0
    token = capsys.readouterr().out.strip()
    holder = TokenAuthenticator([secret_key(SECRET)]).holder(token, time.time_ns())
    assert isinstance(holder, Holder)
    assert (holder.user_id, holder.role, holder.runs) == ("ada", "admin", frozenset({run_id}))
    assert holder.expires_at is not None
    assert holder.issued_at is not None
    assert holder.expires_at - holder.issued_at == 60 * 10**9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "ada", "--secret-file", "nowhere"], "nowhere cannot be read"),
        (["--user", "", "--secret-file", "SECRET"], "printable"),
        (["--user", "ada", "--secret-file", "SECRET", "--runs", "x"], "UUID"),
        (["--user", "ada", "--secret-file", "SECRET", "--role", "king"], "role"),
        (["--user", "ada", "--secret-file", "SECRET", "--ttl", "0"], "ttl"),
    ],
)
def test_a_token_that_cannot_be_made(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], said: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    assert run(["token", *(str(secret) if word == "SECRET" else word for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("store", ["postgresql://ada:sesame@host/x", "postgresql://ada:se/s@me:sesame@host/x?password=sesame"])
def test_settings_do_not_show_what_is_secret(store: str) -> None:
    secret = b"sesame-0123456789abcdef0123456789abcdef"
    text = repr(ServerSettings(store=store, advertise="host:1", secret=secret, keys=(secret_key(secret),)))
    assert "sesame" not in text
    assert "store='postgresql://ada:***@host/x" in text
    assert "protocol=ServerConfig(" in text
    assert repr(ServerSettings()).startswith("ServerSettings(host='127.0.0.1', port=8765, store='sqlite:///steadywire.sqlite3'")


def test_a_server_takes_no_more_connections_than_it_may_have_descriptors() -> None:
    settings = ServerSettings()
    assert within_descriptors(settings, None) is settings
    assert within_descriptors(settings, 1_000_000) is settings
    lowered = within_descriptors(settings, 1024).door
    assert (lowered.connections_max, lowered.refusals_max) == (768, 100)
    assert lowered.connections_max + lowered.refusals_max < 1024
    shared = ServerSettings(store="postgres://ada@db/x")
    assert within_descriptors(shared, 1024).door.connections_max == 384, "each may be relayed, on a second one"


async def test_a_limit_that_was_lowered_is_logged_once_the_server_listens(capsys: pytest.CaptureFixture[str]) -> None:
    settings = within_descriptors(ServerSettings(port=0, store="memory:"), 1024)
    log = LogQueue(io.StringIO())
    with structlog.testing.capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_and_announce, settings, 1024, log)
            while "listens on" not in capsys.readouterr().out:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    log.close()
    assert [(line["descriptors"], line["connections_max"]) for line in lines if "connections_max" in line] == [(1024, 768)]
