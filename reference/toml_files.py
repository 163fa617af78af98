"""Reading TOML files: settings, scenarios, cases. Every failure is one ConfigError that names the file and the cause.

Files are UTF-8. A byte order mark is ignored, since some editors write one.
"""

import tomllib
from pathlib import Path
from typing import Any

from reference.protocol.errors import ConfigError

FILE_BYTES_MAX = 16 * 1024 * 1024
"""A settings or scenario file above this size is refused before it is read."""


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises ConfigError if the file cannot be read, is not UTF-8, or is larger than FILE_BYTES_MAX.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB, the limit for such files")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The table in a TOML text. Raises ConfigError."""
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"invalid TOML: {error}") from None
    except RecursionError:
        raise ConfigError("invalid TOML: lists or tables are nested too deeply") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. Raises ConfigError, with the file's name."""
    text = read_text(path)
    try:
        return parse_toml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
