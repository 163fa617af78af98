"""`--set PATH=VALUE` of every command."""

import tomllib
from typing import Any

from reference.protocol.errors import ConfigError


def change_of(text: str) -> tuple[str, Any]:
    """ "client.policy.cap_s=10" in parts, the value read as TOML; a word needs no quotes. Raises ConfigError."""
    path, is_change, value = text.partition("=")
    if not is_change or not path.strip():
        raise ConfigError(f"--set {text}: write PATH=VALUE, such as client.policy.cap_s=10")
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), value.strip()  # a word without its quotes
