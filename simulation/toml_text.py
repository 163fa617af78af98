"""Writing TOML: only what a scenario needs, which is tables of numbers, strings, booleans and lists, and lists of tables.

The standard library reads TOML and does not write it. Equal values give equal text.
"""

import json
import math
from collections.abc import Iterator, Mapping


def to_toml(table: Mapping[str, object]) -> str:
    """The text of a document. Raises TypeError for what TOML has no word for."""
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
