"""The pages generated from the code are complete, and the schema accepts what the loader accepts."""

import re
from typing import Any

import msgspec
import pytest

from generated_pages import PAGES
from generated_pages.docstrings import as_restructured, short_signature
from generated_pages.scenario_format import unit_of
from reference.protocol.errors import ConfigError
from simulation import library, parse_scenario
from simulation.scenario.schema import described, json_schema, parts
from simulation.scenario.text import table_of
from tests.docs.test_protocol_doc import FRAMES, PARTS, tag_of
from tests.docs.wire_types import fields_of

SMALLEST = {"version": 1, "name": "x", "groups": [{"name": "g"}]}


@pytest.fixture(scope="module")
def validator() -> Any:
    import jsonschema  # it takes a second, which the other processes of a run can spare

    schema = json_schema()
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


@pytest.mark.parametrize("name", library.names())
def test_the_librarys_scenarios_fit_the_schema(validator: Any, name: str) -> None:
    validator.validate(table_of(library.text_of(name)))
    validator.validate(msgspec.json.decode(library.load(name).to_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"horizon": 3},
        {"horizon_s": 0},
        {"version": 2},
        {"groups": []},
        {"client": {"policy": {"cap": 3}}},
        {"client": {"config": {"fallback_after_failures": "nevr"}}},
        {"client": {"fallback": {"failures": 3}}},
        {"faults": [{"kind": "outage", "at_s": 1}]},
        {"faults": [{"kind": "outrage", "at_s": 1}]},
        {"server": {"commit_time": {"kind": "uniform"}}},
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(validator: Any, change: dict[str, Any]) -> None:
    table = SMALLEST | change
    with pytest.raises(ConfigError):
        parse_scenario(msgspec.json.encode(table).decode())
    assert list(validator.iter_errors(table))


@pytest.mark.parametrize(
    "change",
    [
        {"client": {"policy": {"cap_s": 3}}},
        {"client": {"policy": {"preset": "nats"}}},
        {"client": {"config": {"fallback_after_failures": "never"}}},
        {"groups": [{"name": "g", "clients": 2, "workload": {"graft": {"timing": {"kind": "periodic", "every_s": 2}}}}]},
    ],
)
def test_what_the_loader_takes_the_schema_takes(validator: Any, change: dict[str, Any]) -> None:
    table = SMALLEST | change
    parse_scenario(msgspec.json.encode(table).decode())
    validator.validate(table)


def test_network_traces_may_come_from_files(validator: Any) -> None:
    validator.validate(SMALLEST | {"groups": [{"name": "g", "path": {"recorded_latency": {"file": "lat.csv"}}}]})


def test_every_field_of_a_scenario_is_on_its_page() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGES["scenario_format.md"](), re.MULTILINE | re.DOTALL))
    for name, part in parts().items():
        rows = re.findall(r"^\| `(\w+)` \| ([^\n]+?) \| ", sections[name], re.MULTILINE)
        assert [row[0] for row in rows] == [field.name for field in msgspec.structs.fields(part)], name
        assert described(part)[0], f"{name} needs a docstring"


def test_units_and_meanings_come_from_the_source() -> None:
    assert [unit_of(name, "number") for name in ("latency_s", "bad_ms", "graft_per_s", "queue_bytes", "share")] == [
        "s",
        "ms",
        "1/s",
        "bytes",
        "",
    ]
    about, meanings = described(parts()["ServerPart"])
    assert about == "The server's behaviour, and its machine."
    assert meanings["capacity"] == "If left out: a machine that is never busy."
    assert described(parts()["ClientConfig"])[1]["patience_s"].startswith("The longest that a driver waits")


def test_every_frame_and_field_is_in_the_data_dictionary() -> None:
    page = PAGES["frames.md"]()
    assert "of at most 64 KiB from a client (by default)\nand 8 MiB from a server" in page
    for name, kind in [*((tag_of(frame), frame) for frame in FRAMES), *((part.__name__, part) for part in PARTS)]:
        (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        assert re.search(r"Clause: \d+\.\d+\.", section), name
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [field[0] for field in fields_of(kind)], name


def test_every_command_is_on_its_page() -> None:
    from simulation.cli.commands import app

    page = PAGES["command_line.md"]()
    for command in app:
        if not command.startswith("-"):
            assert f"\n## steadywire {command}\n" in page


def test_docstrings_become_restructured_text() -> None:
    text = ["Takes `a_b` and *c.", "", "    run(x_)", "", "After."]
    assert list(as_restructured(text)) == ["Takes ``a_b`` and \\*c.", "", "::", "", "    run(x_)", "", "After."]
    assert (
        short_signature("(x: Annotated[float, msgspec.Meta(ge=0)] = 1, y: P = P(a=(1,), b=Q(2)))")
        == "(x: float = 1, y: P = P(...))"
    )
