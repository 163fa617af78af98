"""Server settings: all options of an operator, frozen and validated, with the unit in each name.

A TOML file names every field of ServerSettings, with the limits in tables of their own:

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

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from reference.protocol.config import ServerConfig, whole_ms
from reference.protocol.errors import ConfigError
from reference.protocol.events import CHAT, EventRegistry
from reference.protocol.frames import Limits
from reference.protocol.server.driver import CONTROL_FRAMES_MAX
from reference.server.access.auth import (
    Authenticator,
    DevelopmentAuthenticator,
    Key,
    TokenAuthenticator,
    public_key,
    read_key_file,
    secret_key,
)
from reference.server.access.origins import is_loopback, normal_origin
from reference.server.wire.limits import DoorLimits, ListenLimits, WebSocketLimits
from reference.store import hide_password
from reference.tables import guess, value_of
from reference.toml_files import read_toml

_S_MAX = 86_400
"""The longest time that a setting may be: a day."""
_COUNTS = (
    "control_frames_max",
    "loaded_runs_max",
    "connections_per_user_max",
    "unauthenticated_max",
    "requests_per_user_per_s_max",
    "upgrades_per_user_per_s_max",
    "runs_per_user_per_minute_max",
    "session_records_max",
)
_SECONDS = ("token_leeway_s", "stop_timeout_s", "go_away_retry_after_s", "go_away_spread_s", "session_age_max_s")
_FILES = ("secret_file", "previous_secret_files", "public_key_files")
_NOT_IN_A_FILE = ("secret", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of one server: addresses, store, access, and limits. Raises ConfigError."""

    host: str = "127.0.0.1"
    """A host name or address of this machine; 0.0.0.0 listens on every network interface."""
    port: int = 8765
    """0 picks a free port."""
    store: str = "sqlite:///steadywire.sqlite3"
    """As for store.open_store; its password is not shown."""
    advertise: str | None = None
    """HOST:PORT at which other processes on the same PostgreSQL reach this one; None: where it listens."""

    secret: bytes | None = field(default=None, repr=False)
    """Signs the tokens (HS256). Without a secret and without `keys` every token dev:<user> is accepted, and the server listens on
    loopback only."""
    keys: tuple[Key, ...] = ()
    """More keys with which tokens may be signed: public keys, and previous secrets."""
    audience: str | None = None
    """The audience (`aud`) that tokens must have."""
    issuer: str | None = None
    """The issuer (`iss`) that tokens must have."""
    token_leeway_s: float = 10.0
    """How far the clock of the token issuer may be ahead of this one: a token is accepted this long before its `nbf`."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages that may use this server, in addition to its own and those of this machine."""
    event_types: tuple[str, ...] = (CHAT,)
    """Sequenced event types of the application, in addition to the built-in ones."""

    protocol: ServerConfig = field(default_factory=ServerConfig)
    door: DoorLimits = field(default_factory=DoorLimits)
    websocket: WebSocketLimits = field(default_factory=WebSocketLimits)
    """`message_bytes_max` is taken from `protocol.frame_bytes_max`."""
    listening: ListenLimits = field(default_factory=ListenLimits)

    connections_per_user_max: int = 1000
    """WebSocket connections that one user may have to this server, over all runs."""
    unauthenticated_max: int = 1000
    """WebSockets that may wait for their token at the same time; above it a client is asked to retry."""
    requests_per_user_per_s_max: int = 500
    """HTTP requests about runs that one user may make per second; twice as many may come at once."""
    upgrades_per_user_per_s_max: int = 500
    """WebSockets that one user may open per second, over all runs; twice as many may be opened at once."""
    runs_per_user_per_minute_max: int = 60
    """Runs that one user may create per minute; as many may be created at once."""
    control_frames_max: int = CONTROL_FRAMES_MAX
    """Control frames that may wait for one connection whose socket is full; above it the connection is closed as too slow."""
    loaded_runs_max: int = 1000
    """Runs in memory."""
    session_records_max: int = 20_000
    """Sessions that the admin API remembers, including ended ones."""
    session_age_max_s: float = 3600.0
    """How long it remembers an ended session."""
    accepts_per_s: float = 200.0
    """Clients that may reconnect per second after this server stops; their spread follows from it."""
    go_away_retry_after_s: float = 1.0
    """How long clients are asked to wait after this server stops."""
    go_away_spread_s: float = 5.0
    """The least spread of their return after that wait."""
    stop_timeout_s: float = 10.0
    """From the request to stop until all remaining connections are cut."""

    def __post_init__(self) -> None:
        if not isinstance(self.port, int) or not 0 <= self.port <= 65_535:
            raise ConfigError(f"port = {self.port!r}: must be a whole number from 0 to 65535")
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} = {value!r}: must be a whole number above 0")
        for name in _SECONDS:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= _S_MAX:
                raise ConfigError(f"{name} = {value!r}: must be seconds, from 0 to {_S_MAX:g}")
        if not isinstance(self.accepts_per_s, int | float) or not 0.01 <= self.accepts_per_s <= 1e6:
            raise ConfigError(f"accepts_per_s = {self.accepts_per_s!r}: must be clients per second, from 0.01 to 1000000")
        if self.advertise is not None:
            split_address(self.advertise)
        elif self.is_shared and self.host in ("", "0.0.0.0", "::"):
            raise ConfigError(
                f"host = {self.host!r} is no address at which other processes on this database reach this one; "
                "say which is (--advertise HOST:PORT)"
            )
        for origin in self.allowed_origins:
            normal_origin(origin)
        EventRegistry(self.event_types)
        if self.is_development:
            if not is_loopback(self.host):  # 10.7, 10.8
                raise ConfigError(
                    f"host = {self.host!r}: without a secret everyone who can reach this server would be believed; "
                    "give a secret (--secret-file FILE) or a public key (--public-key-file FILE), or listen on 127.0.0.1"
                )
        else:
            self.authenticator()

    def __repr__(self) -> str:
        """Like a dataclass's own, but without secrets."""
        shown = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}
        shown["store"] = hide_password(self.store)
        return f"ServerSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use the same store."""
        return self.store.startswith(("postgresql:", "postgres:"))

    @property
    def is_development(self) -> bool:
        """Whether every development token is accepted."""
        return self.secret is None and not self.keys

    def authenticator(self) -> Authenticator:
        """The Authenticator that these settings describe."""
        if self.is_development:
            return DevelopmentAuthenticator()
        secrets = () if self.secret is None else (secret_key(self.secret),)
        return TokenAuthenticator(
            (*secrets, *self.keys), audience=self.audience, issuer=self.issuer, leeway_s=self.token_leeway_s
        )

    def go_away_spread_for(self, clients: int) -> float:
        """The spread in seconds over which that many clients are asked to return."""
        return min(max(self.go_away_spread_s, clients / self.accepts_per_s), _S_MAX)

    @property
    def limits(self) -> Limits:
        """These settings as reported in `welcome`."""
        return msgspec.structs.replace(
            self.protocol.limits,
            body_bytes_max=self.door.body_bytes_max,
            connections_per_user_max=self.connections_per_user_max,
            connections_max=self.door.connections_max,
            loaded_runs_max=self.loaded_runs_max,
            runs_per_user_per_minute_max=self.runs_per_user_per_minute_max,
            head_timeout_ms=whole_ms(self.door.head_timeout_s),
        )

    @property
    def websocket_limits(self) -> WebSocketLimits:
        """The limits of one WebSocket, consistent with the protocol's."""
        return replace(self.websocket, message_bytes_max=self.protocol.frame_bytes_max)


def split_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, with an IPv6 address in brackets. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise ConfigError(f"advertise = {text!r}: must be HOST:PORT, like 10.0.0.5:8765 or [fd00::5]:8765")
    return host, int(port)


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
    if is_dataclass(wanted) or wanted is ServerConfig:
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
