"""A client's settings from a file, and the public names of `reference.client`."""

import subprocess
import sys
from pathlib import Path

import pytest

import reference.client as public
from reference.client import (
    AfterSeconds,
    AfterSilence,
    ClientConfig,
    ClientSettings,
    ConfigError,
    Fixed,
    FullJitter,
    SessionEnded,
)
from tests.client.conftest import Connect
from tests.client.harness import Server

WHOLE = """
# found by `steadywire tune`
[config]
ping_interval_s = 12.0
fallback_after_failures = "never"
[policy]
cap_s = 20.0
[fallback]
kind = "after_seconds"
seconds = 30.0
[heartbeat]
kind = "after_silence"
"""


def test_every_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "client.toml"
    path.write_text(WHOLE)
    assert ClientSettings.load(path) == ClientSettings(
        config=ClientConfig(ping_interval_s=12.0, fallback_after_failures=None),
        policy=FullJitter(cap_s=20.0),
        fallback=AfterSeconds(seconds=30.0),
        heartbeat=AfterSilence(),
    )
    path.write_text("")
    assert ClientSettings.load(str(path)) == ClientSettings()
    path.write_text('[policy]\nkind = "fixed"\nseconds = 2.0\n')
    assert ClientSettings.load(path).policy == Fixed(seconds=2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[config]\nping_intervall_s = 1\n", "config: there is no key 'ping_intervall_s'; did you mean 'ping_interval_s'"),
        ("[config]\nping_interval_s = -1\n", "Expected `float` > 0"),
        ("ping_interval_s = 1\n", r"no key 'ping_interval_s' at the top of the file; it belongs into the table \[config\]"),
        ("[confg]\n", "no key 'confg' .*did you mean 'config'"),
        ("config = 1\n", r"config: is a table: \[config\]"),
        ('[policy]\nkind = "none"\n', "policy: there is no kind 'none'; there are full_jitter, "),
        ("[policy]\ncap_s = 0.1\n", "cap_s >= base_s"),
        ("[heartbeat]\n", "heartbeat: needs `kind`, one of every_interval, after_silence, no_pings"),
        ("[[", "invalid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        ClientSettings.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(ConfigError, match="No such file"):
        ClientSettings.load(tmp_path / "none.toml")


async def test_a_client_keeps_its_settings(join: Connect, server: Server) -> None:
    server.is_down = True
    settings = ClientSettings(config=ClientConfig(fallback_after_failures=None), policy=Fixed(seconds=7.0, attempts_max=1))
    async with join(settings=settings) as client:
        (ended,) = [outcome async for outcome in client]
        assert isinstance(ended, SessionEnded)
        assert ended.message.startswith("the reconnect policy gave up after 1 failed attempts; last error: no connection to")
        assert client._session.config.fallback_after_failures is None


def test_every_public_name_can_be_imported() -> None:
    assert len(public.__all__) == len(set(public.__all__))
    for name in public.__all__:
        value = getattr(public, name)
        assert value.__doc__ is not None or not callable(value) or "Callable" in repr(value), name
    assert set(public.__all__) == set(dir(public))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = public.nothing


def test_importing_a_name_does_not_import_the_others() -> None:
    program = "import sys; from reference.client import ClientConfig; print('trio' in sys.modules, 'httpcore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
