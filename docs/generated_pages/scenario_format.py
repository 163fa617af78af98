"""The page "Scenario format": every part of a scenario, every field with its type, default, unit and meaning, from the types."""

import json
import re
from typing import Any

import msgspec
from msgspec import inspect

from reference.protocol.config import ClientConfig, ServerConfig
from simulation import PRESETS
from simulation.scenario.network_traces import FILE_KEYS
from simulation.scenario.schema import described, parts
from tests.docs import document
from tests.docs.wire_types import bounds

INTRODUCTION = """# Scenario format

Every part of a scenario file and every field, read off the types that load it. [Scenarios](../scenarios.md) explains how to write
one.

A file is TOML, or JSON if it begins with `{`. The top of a file is a [Scenario](#scenario). A field whose type is a link is a
table with the fields of that part; a *list of* such parts is `[[groups]]` in TOML. Where several parts are possible, `kind` names
one of them. A field that has a default may be left out. Unknown keys are refused, and the message names the nearest valid key.

| ending of a name | unit |
|---|---|
| `_s` | seconds |
| `_ms` | milliseconds |
| `_per_s` | per second |
| `_bytes`, `_bytes_max` | bytes |
| `_bytes_per_s` | bytes per second |
| none of these | a count, a probability or a share, as the meaning says |

A distribution of times is in seconds, one of sizes in bytes.

## In your editor

`steadywire scenario-schema > scenario.schema.json` writes this format as a JSON Schema. It is also published <a
href="../scenario.schema.json">beside this page</a>.

- TOML in VS Code (extension *Even Better TOML*) or with [taplo](https://taplo.tamasfe.dev): make
  `#:schema ./scenario.schema.json` the first line of the scenario. `taplo check my_scenario.toml` then checks it without an
  editor.
- JSON in VS Code: in `settings.json`, `"json.schemas": [{ "fileMatch": ["*.scenario.json"], "url": "./scenario.schema.json" }]`.

The schema knows names, types, limits and defaults. Rules between two fields (`cap_s` is not below `base_s`) are checked when the
scenario is loaded.

"""
UNITS = (
    ("_bytes_per_s", "bytes/s"),
    ("_bytes", "bytes"),
    ("_bytes_max", "bytes"),
    ("_per_s", "1/s"),
    ("_ms", "ms"),
    ("_s", "s"),
)
DISTRIBUTION_UNITS = {"size_bytes": "bytes"}
PAIRS_OF_SECONDS = {"outages", "recorded_latency", "up_recorded_latency"}


def page() -> str:
    """The page as MyST Markdown."""
    sections = [_section(name, part) for name, part in parts().items()]
    return INTRODUCTION + "\n".join(sections) + "\n" + _presets()


def unit_of(field: str, type_words: str) -> str:
    """The unit of a field: by the ending of its name, or that of the distribution it takes."""
    for ending, unit in UNITS:
        if field.endswith(ending):
            return unit
    return "s" if "[Constant]" in type_words or field in PAIRS_OF_SECONDS or field == "seconds" else ""


def _section(name: str, part: type[msgspec.Struct]) -> str:
    about, meanings = described(part)
    info = inspect.type_info(part)
    assert isinstance(info, inspect.StructType)
    lines = [f"## {name}", ""]
    if info.tag is not None:
        lines += [f"`kind = {json.dumps(info.tag)}`", ""]
    if about and about != "See the module.":
        lines += [_escaped(about), ""]
    clauses = _clauses(part)
    lines += ["| field | type | default | unit | meaning |", "|---|---|---|---|---|"]
    for field in info.fields:
        words = type_words(field.type)
        if field.name in FILE_KEYS:
            words += ' or `{ file = "..." }`'
        meaning = " ".join(filter(None, (_escaped(meanings.get(field.name, "")), clauses.get(field.name, ""))))
        lines.append(f"| `{field.name}` | {words} | {_default(field)} | {unit_of(field.name, words)} | {meaning} |")
    if not info.fields:
        lines = [*lines[:-2], "No fields."]
    return "\n".join(lines) + "\n"


def type_words(kind: inspect.Type) -> str:
    """A type with its limits, in words."""
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(type_words(option) for option in types if not isinstance(option, inspect.NoneType))
        case inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case inspect.LiteralType(values=values):
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            limits = [f"at least {least}"] if least else []
            limits += [f"at most {most}"] if most else []
            return ", ".join([f"list of {type_words(item)}", *limits])
        case inspect.TupleType(item_types=items):
            return f"[{', '.join(type_words(item) for item in items)}]"
        case inspect.IntType() | inspect.FloatType():
            word = "integer" if isinstance(kind, inspect.IntType) else "number"
            return ", ".join([word, *filter(None, [bounds(kind)])])
        case inspect.StrType(max_length=most):
            return "text" if most is None else f"text, at most {most} characters"
        case inspect.BoolType():
            return "`true` or `false`"
        case _:
            raise AssertionError(f"the page has no word for {kind}")


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value: Any = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if field.name == "fallback_after_failures" and value is None:
        return '`"never"`'
    match value:
        case None:
            return "none"
        case msgspec.Struct():
            tag = value.__struct_config__.tag
            given = {field.name: getattr(value, field.name) for field in msgspec.structs.fields(value) if field.required}
            words = ", ".join(
                [*([f'kind = "{tag}"'] if tag else []), *(f"{key} = {json.dumps(each)}" for key, each in given.items())]
            )
            return f"`{{ {words} }}`" if words else "its defaults"
        case _:
            return f"`{json.dumps(value)}`"


def _clauses(part: type[msgspec.Struct]) -> dict[str, str]:
    """For settings of the protocol: the clause that uses each, from the table in docs/protocol.md."""
    if part not in (ClientConfig, ServerConfig):
        return {}
    rows = document.table(document.under(part.__name__))
    return {row[0]: f"[Protocol](../protocol.md) {row[3]}." for row in rows}


def _presets() -> str:
    lines = ["## Presets", "", 'The names that `policy = { preset = "NAME" }` takes, and where each was read.', ""]
    lines += ["| preset | policy | source |", "|---|---|---|"]
    lines += [f"| `{name}` | `{preset.policy}` | {_escaped(preset.source)} |" for name, preset in PRESETS.items()]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Plain text as Markdown, its code spans kept."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*_\[\]<>|$])", r"\\\1", piece) for piece in pieces)
