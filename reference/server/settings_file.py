"""Settings from a TOML file: every field of ServerSettings by its name, the limits in tables of their own.

    host = "0.0.0.0"
    store = "sqlite:///events.sqlite3"
    secret_file = "secret"                  # instead of the secret itself; relative to this file
    previous_secret_files = ["secret.old"]
    public_key_files = ["2026-11.pem"]      # the name without .pem is the key's name, `kid` in a token

    [protocol]                              # ServerConfig
    frame_bytes_max = 32768

    [door]                                  # DoorLimits; [websocket] and [listening] likewise

An unknown name is refused: otherwise a misspelt limit would silently have no effect.
"""

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError
from reference.server.access.auth import public_key, read_key_file, secret_key
from reference.server.settings import ServerSettings
from reference.tables import guess, value_of
from reference.toml_files import read_toml

_FILES = ("secret_file", "previous_secret_files", "public_key_files")
_NOT_IN_A_FILE = ("secret", "keys")


def load_settings(path: Path | None, **given: Any) -> ServerSettings:
    """The settings of a file, if there is one; values in `given` that are not None take precedence. Raises ConfigError.

    In addition to the fields of ServerSettings, `secret_file`, `previous_secret_files` and `public_key_files` may be given.
    """
    values: dict[str, Any] = {} if path is None else read_toml(path)
    values |= {name: value for name, value in given.items() if value is not None}
    where = "" if path is None else f"{path}: "
    try:
        return ServerSettings(**_converted(ServerSettings, _with_keys(values, Path() if path is None else path.parent)))
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from error


def _with_keys(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`values` with the keys read from the files."""
    rest = {name: value for name, value in values.items() if name not in _FILES}
    if (secret_file := values.get("secret_file")) is not None:
        rest["secret"] = read_key_file(folder / _path("secret_file", secret_file), "secret file")
    former = [secret_key(read_key_file(folder / name, "secret file")) for name in _paths(values, "previous_secret_files")]
    public = [
        public_key(read_key_file(folder / name, "public key file"), name.stem) for name in _paths(values, "public_key_files")
    ]
    if former or public:
        rest["keys"] = (*former, *public)
    return rest


def _converted(kind: Any, values: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """`values` checked against the fields of `kind`, with tables converted to their types."""
    hints = typing.get_type_hints(kind, include_extras=True)
    offered = [name for name in hints if name not in _NOT_IN_A_FILE] + (list(_FILES) if not table else [])
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"{table and table.rstrip('.') + ': '}there is no key {name!r}; {guess(name, offered)}")
        converted[name] = _value(hints[name], name, value, table)
    return converted


def _value(wanted: Any, name: str, value: Any, table: str) -> Any:
    if name in _NOT_IN_A_FILE:
        if isinstance(value, bytes | tuple):
            return value
        raise ConfigError(f"{name}: is given as a file, with {' or '.join(_FILES)}")
    if dataclasses.is_dataclass(wanted) or wanted is ServerConfig:
        if not isinstance(value, Mapping):
            if isinstance(value, wanted):  # type: ignore[arg-type]  # a class, as checked above
                return value
            raise ConfigError(f"{name}: is a table: [{name}]")
        return wanted(**_converted(wanted, value, f"{name}."))  # type: ignore[operator]  # as above
    return value_of(value, wanted, f"{table}{name} = {value!r}")


def _paths(values: Mapping[str, Any], name: str) -> list[Path]:
    files = values.get(name) or []
    if not isinstance(files, list | tuple):
        raise ConfigError(f"{name} = {files!r}: give a list of files")
    return [_path(name, file) for file in files]


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ConfigError(f"{name} = {value!r}: give the name of a file")
    return Path(value)
