"""The schema of scenario files, from the types: a JSON Schema for editors, and the meaning of each field.

    json_schema()           the schema (draft 2020-12), printed by `steadywire scenario-schema`
    parts()                 every part of a scenario by its name: the types that the schema and the reference page list
    described(Path)         the description of a part, and the meaning of each of its fields

The meaning of a field is in the source: as a string below the field, or in the docstring of its class as `field: meaning`.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from simulation.scenario.network_traces import FILE_KEYS
from simulation.scenario.scenario import Scenario
from simulation.scenario.text import MAY_BE_NOTHING, NEVER

DIALECT = "https://json-schema.org/draft/2020-12/schema"
POLICIES_WITHOUT_KIND = ("FullJitter", "PresetPolicy")
"""A policy may leave out its `kind` if it is one of these."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file. It accepts what `parse_scenario` accepts, except for rules between two fields."""
    schema = msgspec.json.schema(Scenario)
    definitions: dict[str, Any] = schema["$defs"]
    structs = parts()
    for name, definition in definitions.items():
        about, meanings = described(structs[name])
        definition["description"] = about
        for field, kind in definition["properties"].items():
            definition["properties"][field] = _property(field, kind, meanings.get(field))
    for name in POLICIES_WITHOUT_KIND:
        definitions[name]["required"] = [field for field in definitions[name]["required"] if field != "kind"]
    definitions["Scenario"]["required"].append("version")
    definitions["NetworkTraceFile"] = {
        "type": "object",
        "description": "A network trace in a file beside the scenario.",
        "properties": {"file": {"type": "string"}},
        "required": ["file"],
        "additionalProperties": False,
    }
    return {"$schema": DIALECT, "title": "steadywire scenario", **schema}


@cache
def parts() -> dict[str, type[msgspec.Struct]]:
    """Every part that a scenario can have, by the name of its type, in reading order."""
    found: dict[str, type[msgspec.Struct]] = {}
    _collect(msgspec.inspect.type_info(Scenario), found)
    return found


@cache
def described(part: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """The description of a part, and the meaning of each field that has one."""
    fields = {field.name for field in msgspec.structs.fields(part)}
    meanings: dict[str, str] = {}
    about = ""
    for owner in reversed(part.__mro__):
        if issubclass(owner, msgspec.Struct) and owner is not msgspec.Struct:
            own_about, from_class = _split(inspect.cleandoc(owner.__doc__ or ""), fields)
            about = own_about or about
            meanings |= from_class | dict(_strings_below_fields(owner))
    return about, {field: text for field, text in meanings.items() if field in fields}


def _collect(kind: msgspec.inspect.Type, found: dict[str, type[msgspec.Struct]]) -> None:
    match kind:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            if cls.__name__ not in found:
                found[cls.__name__] = cls
                for field in fields:
                    _collect(field.type, found)
        case msgspec.inspect.UnionType(types=types):
            for option in types:
                _collect(option, found)
        case msgspec.inspect.VarTupleType(item_type=item_type):
            _collect(item_type, found)
        case _:
            pass


def _property(field: str, kind: dict[str, Any], meaning: str | None) -> dict[str, Any]:
    """The schema of a field in a file: words for None, network traces from files, and no nulls, which TOML does not have."""
    kind = {key: value for key, value in kind.items() if key != "discriminator" and (key != "default" or value is not None)}
    if field == MAY_BE_NOTHING:
        kind = {"anyOf": [*kind["anyOf"], {"const": NEVER}], "default": kind["default"]}
    elif field in FILE_KEYS:
        kind = {"anyOf": [kind, {"$ref": "#/$defs/NetworkTraceFile"}]}
    return kind if meaning is None else {**kind, "description": meaning}


def _split(text: str, fields: set[str]) -> tuple[str, dict[str, str]]:
    """Split a docstring into the text about the class, and the texts about fields: `field, field: text. field: text.`"""
    if not fields:
        return " ".join(text.split()), {}
    name = "|".join(sorted(fields, key=len, reverse=True))
    heads = list(re.finditer(rf"(?:^|(?<=[.;] )|(?<=\n))((?:{name})(?:, (?:{name}))*)( None)?: ", text))
    about = text[: heads[0].start()] if heads else text
    meanings: dict[str, str] = {}
    for head, end in zip(heads, [*(head.start() for head in heads[1:]), len(text)], strict=False):
        meaning = ("If left out: " if head[2] else "") + " ".join(text[head.end() : end].split()).rstrip(";")
        meaning = re.sub(r"\bNone\b", "left out", meaning[:1].upper() + meaning[1:])
        meanings |= dict.fromkeys(head[1].split(", "), meaning)
    return " ".join(about.split()), meanings


def _strings_below_fields(owner: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    field = None
    for node in definition.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                field = name
            case ast.Expr(value=ast.Constant(value=str(text))) if field is not None:
                yield field, " ".join(text.split())
            case _:
                field = None
