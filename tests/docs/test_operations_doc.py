"""docs/operations.md names every setting with its default, every limit and every metric, or these tests fail."""

import dataclasses
from typing import Any

import pytest

from reference.protocol.frames import Limits
from reference.protocol.limits import Limit
from reference.protocol.metrics import METRICS
from reference.server.settings import ServerSettings, load_settings
from reference.server.wire.limits import DoorLimits, ListenLimits, WebSocketLimits
from tests.docs import document

PAGE = document.page("operations.md")
TABLES = ("protocol", "door", "websocket", "listening")
IN_FILES = {"secret": "secret_file", "keys": "previous_secret_files, public_key_files"}


def shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case tuple():
            return ", ".join(value) or "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def settings_of(kind: Any) -> list[tuple[str, str]]:
    made = kind()
    return [
        (IN_FILES.get(field.name, field.name), shown(getattr(made, field.name)))
        for field in dataclasses.fields(kind)
        if field.name not in TABLES
    ]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("Settings", ServerSettings), ("[door]", DoorLimits), ("[websocket]", WebSocketLimits), ("[listening]", ListenLimits)],
)
def test_every_setting_stands_there_with_its_default(heading: str, kind: Any) -> None:
    documented = [row[:2] for row in document.table(document.under(heading, PAGE))]
    wanted = settings_of(kind)
    assert documented == wanted, "\n".join(
        f"| `{name}` | {default} |" for name, default in wanted if (name, default) not in documented
    )


def test_every_limit_stands_there_with_what_to_do() -> None:
    rows = document.table(document.under("Limits", PAGE))
    assert [row[0] for row in rows] == [limit.value for limit in Limit]
    assert all(len(row) == 6 and all(row) for row in rows)
    protocol = ServerSettings().protocol
    defaults = {name: shown(getattr(protocol, name)) for name in protocol.__struct_fields__}
    defaults |= dict(entry for kind in (ServerSettings, DoorLimits, WebSocketLimits, ListenLimits) for entry in settings_of(kind))
    for row in rows:
        assert row[2] == ", ".join(defaults[name] for name in row[1].split(", ")), row


def test_every_limit_that_a_welcome_tells_stands_there() -> None:
    reported = [row[3] for row in document.table(document.under("Limits", PAGE)) if row[3] != "no"]
    assert sorted(reported) == sorted(Limits.__struct_encode_fields__)


def test_every_metric_stands_there() -> None:
    rows = document.table(document.under("Metrics", PAGE))
    wanted = [(metric.name, metric.kind, ", ".join(metric.labels) or "none", metric.text) for metric in METRICS]
    assert rows == wanted, "\n".join(f"| `{row[0]}` | {' | '.join(row[1:])} |" for row in wanted if row not in rows)


def test_the_example_file_is_one(tmp_path: Any) -> None:
    (toml,) = document.blocks(PAGE, "toml")
    path = tmp_path / "server.toml"
    path.write_text(toml)
    (tmp_path / "secret").write_bytes(b"0123456789abcdef0123456789abcdef")
    assert load_settings(path).host == "0.0.0.0"
