"""Scenarios as text: reads and writes TOML and JSON, applies changes by dotted paths, and reports errors with their place.

`to_toml` writes the subset of TOML that a scenario needs: tables of numbers, strings, booleans and lists, and lists of tables
(the standard library reads TOML but does not write it). Equal values give equal text.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from reference.protocol.errors import ConfigError
from reference.tables import guess, value_of
from reference.toml_files import parse_toml


def to_toml(table: Mapping[str, object]) -> str:
    """The text of a document. Raises TypeError for values that TOML cannot represent."""
    return "\n".join(_lines(table, ())).strip() + "\n"


def _lines(table: Mapping[str, object], place: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if key in plain:
            continue
        here = (*place, key)
        name = ".".join(_key(part) for part in here)
        if isinstance(value, Mapping):
            yield f"\n[{name}]"
            yield from _lines(value, here)
        elif isinstance(value, list | tuple):
            for item in value:
                yield f"\n[[{name}]]"
                yield from _lines(item, here)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping))


def _key(key: str) -> str:
    is_bare = key != "" and key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if is_bare else json.dumps(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            raise TypeError(f"TOML has no word for {value!r}")


NEVER = "never"
"""The value for `fallback_after_failures = None`, because TOML has no null."""
MAY_BE_NOTHING = "fallback_after_failures"
RENAMED = {"is_told": "is_notified"}
"""Keys that had another name in earlier versions."""
T = TypeVar("T")


def table_of(text: str) -> dict[str, Any]:
    """The table in a text: JSON if it begins with a brace, else TOML. Raises ConfigError."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        try:
            table = msgspec.json.decode(text.encode())
        except msgspec.DecodeError as error:
            raise ConfigError(f"invalid JSON: {error}") from None
        except RecursionError:
            raise ConfigError("invalid JSON: lists or objects are nested too deeply") from None
        assert isinstance(table, dict), "it begins with a brace"
        return table
    return parse_toml(text)


def converted(table: Mapping[str, Any], kind: type[T]) -> T:
    """The value that a table describes, with words for None converted back. Raises ConfigError with the place of the first
    mistake."""
    _check(table, "")
    return value_of(_read(table), kind)


def toml_of(value: object) -> str:
    """Every parameter, including defaults."""
    return to_toml(_written(msgspec.to_builtins(value)))


def json_of(value: object) -> str:
    """The same as JSON, indented."""
    return json.dumps(_written(msgspec.to_builtins(value)), indent=2, ensure_ascii=False) + "\n"


def changed(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A table with values replaced by path: "client.policy.cap_s", "groups.0.clients", "groups.mobile.path.latency_s".

    An item of a list is named by its index from 0, or by its `name`. If a value inside a part that is None is set, the part gets
    its defaults. Raises ConfigError for an invalid path.
    """
    for path, value in changes.items():
        steps = path.split(".")
        holder: Any = table
        for depth, step in enumerate(steps[:-1]):
            key = _key_in(holder, step, path)
            if holder[key] is None:
                holder[key] = {}
            holder = holder[key]
            if not isinstance(holder, dict | list):
                raise ConfigError(f"{path}: {'.'.join(steps[: depth + 1])} is {holder!r} and has no parts")
        is_new = isinstance(holder, dict) and steps[-1] not in holder  # the conversion checks whether the key is allowed
        holder[steps[-1] if is_new else _key_in(holder, steps[-1], path)] = msgspec.to_builtins(value)
    return table


def _key_in(holder: Any, step: str, path: str) -> Any:
    if isinstance(holder, dict):
        if step not in holder:
            raise ConfigError(f"{path}: there is no {step!r}; {guess(step, holder)}")
        return step
    named = [place for place, item in enumerate(holder) if isinstance(item, dict) and item.get("name") == step]
    if named:
        return named[0]
    if step.isdecimal() and int(step) < len(holder):
        return int(step)
    names = [item["name"] for item in holder if isinstance(item, dict) and "name" in item]
    advice = f"; {guess(step, names)}" if names else ""
    raise ConfigError(f"{path}: no item {step!r} in a list of {len(holder)}{advice}")


def plain(value: object) -> Any:
    """The value as dicts and lists that may be changed."""
    built = msgspec.to_builtins(value)
    return _listed(built)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


def _read(value: Any, key: str = "") -> Any:
    """Convert words for None back, and add the kind of a policy without one: preset if it names one, else, for reconnect
    policies, ours."""
    if isinstance(value, dict):
        table = {name: _read(item, name) for name, item in value.items()}
        if key == "policy":
            table.setdefault("kind", "preset" if "preset" in table else "full_jitter")
        elif key in ("fallback", "heartbeat") and "preset" in table:
            table.setdefault("kind", "preset")
        return table
    if isinstance(value, list | tuple):
        return [_read(item) for item in value]
    return None if key == MAY_BE_NOTHING and value == NEVER else value


def _written(value: Any) -> Any:
    """Leave out values that are None by default; the one None that is not has a word."""
    if isinstance(value, dict):
        words = {}
        for key, item in value.items():
            if item is None and key == MAY_BE_NOTHING:
                words[key] = NEVER
            elif item is not None:
                words[key] = _written(item)
        return words
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value


def _check(value: object, place: str) -> None:
    """Raises ConfigError for a number that is not finite, and for a key that has another name now."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}: {value} is not a finite number")
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{place}.{key}" if place else str(key)
            if key in RENAMED:
                raise ConfigError(f"{where} is called {RENAMED[key]} now; rename it")
            _check(item, where)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check(item, f"{place}[{number}]")
