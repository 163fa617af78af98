"""A client's settings from a TOML file, as `steadywire tune` writes them.

    [config]                        # ClientConfig
    ping_interval_s = 12.0
    fallback_after_failures = "never"

    [policy]                        # when to reconnect; `kind` names the formula (default full_jitter)
    kind = "full_jitter"
    cap_s = 20.0

    [fallback]                      # when polling takes over, in place of fallback_after_failures
    kind = "after_seconds"
    seconds = 30.0

    [heartbeat]                     # when to ping, in place of ping_interval_s and ping_timeout_s
    kind = "after_silence"

Every table may be left out. An unknown name is refused: otherwise a misspelt setting would silently have no effect.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Fallback
from reference.protocol.policies.keepalive import Heartbeat
from reference.protocol.policies.reconnect import FullJitter
from reference.tables import guess, value_of
from reference.toml_files import read_toml

_NEVER = "never"
"""For `fallback_after_failures`: TOML has no null value."""
_TABLES: dict[str, Any] = {"config": ClientConfig, "policy": Policy, "fallback": Fallback, "heartbeat": Heartbeat}


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a client: `connect(url, run_id, settings=ClientSettings.load("client.toml"))`.

    policy: when to reconnect. fallback, heartbeat: None for what the config's own fields say.
    """

    config: ClientConfig = ClientConfig()
    policy: Policy = FullJitter()
    fallback: Fallback | None = None
    heartbeat: Heartbeat | None = None

    @classmethod
    def load(cls, path: Path | str) -> "ClientSettings":
        """The settings in a file. Raises ConfigError, with the file, the place, and what is wrong there."""
        path = Path(path)
        table = read_toml(path)
        try:
            return cls(**{name: _converted(name, value) for name, value in table.items()})
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def _converted(name: str, value: object) -> Any:
    if name not in _TABLES:
        hint = "it belongs into the table [config]" if name in ClientConfig.__struct_fields__ else guess(name, _TABLES)
        raise ConfigError(f"there is no key {name!r} at the top of the file; {hint}")
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: is a table: [{name}]")
    fields = dict(value)
    if name == "config":
        if fields.get("fallback_after_failures") == _NEVER:
            fields["fallback_after_failures"] = None
    elif name == "policy":
        fields.setdefault("kind", "full_jitter")
    return value_of(fields, _TABLES[name], name)
