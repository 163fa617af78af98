"""Changes on a command line: `--set PATH=VALUE`, and a scenario with them."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reference.protocol.errors import ConfigError
from simulation.scenario import library
from simulation.scenario.scenario import Scenario


def change_of(text: str) -> tuple[str, Any]:
    """ "client.policy.cap_s=10" in parts, the value read as TOML; a word needs no quotes. Raises ConfigError."""
    path, is_change, value = text.partition("=")
    if not is_change or not path.strip():
        raise ConfigError(f"{text!r} is no change; write PATH=VALUE, such as client.policy.cap_s=10")
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), value.strip()  # a word without its quotes


def changed_scenario(named: str | Path, changes: Sequence[str]) -> Scenario:
    """A scenario by its file or name, with changes "path=value". Raises ConfigError."""
    return library.find(named).replace(dict(map(change_of, changes)))
