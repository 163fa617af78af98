"""Everything that an operator can set, frozen and validated, with its unit in its name."""

import math
from dataclasses import dataclass, field, replace

from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.events import CHAT, EventRegistry
from reference.server.auth import check_secret
from reference.server.origins import check_origin, is_loopback
from reference.server.wire.limits import DoorLimits, ListenLimits, WebSocketLimits

_S_MAX = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A server: where it listens, where it stores, whom it lets in, and what it may cost. Raises ConfigError."""

    host: str = "127.0.0.1"
    """A name or an address of this machine; 0.0.0.0 for every network."""
    port: int = 8765
    """0 finds a free one."""
    store: str = "steadywire.sqlite3"
    """As store.open_store takes it."""
    secret: bytes | None = field(default=None, repr=False)
    """Signs the tokens. Without one every token dev:<user> is believed, and only loopback is listened on."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages that may talk to this server, beside its own and those of this machine."""
    event_types: tuple[str, ...] = (CHAT,)
    """Sequenced event types of the application, beside the built-in ones."""

    protocol: ServerConfig = field(default_factory=ServerConfig)
    door: DoorLimits = field(default_factory=DoorLimits)
    websocket: WebSocketLimits = field(default_factory=WebSocketLimits)
    """`message_bytes_max` is taken from `protocol.frame_bytes_max`."""
    listening: ListenLimits = field(default_factory=ListenLimits)

    control_frames_max: int = 256
    """Frames beside the log that may wait for one connection which takes nothing; beyond it is closed as too slow."""
    loaded_runs_max: int = 1000
    """Runs in memory."""
    go_away_retry_after_s: float = 1.0
    """What clients are asked to wait when this server stops, before they come back."""
    go_away_spread_s: float = 5.0
    """And how widely they are to spread after it."""
    stop_timeout_s: float = 10.0
    """From the wish to stop until everything that is left is cut."""

    def __post_init__(self) -> None:
        if not isinstance(self.port, int) or not 0 <= self.port <= 65_535:
            raise ConfigError(f"port = {self.port!r}: must be a whole number from 0 to 65535")
        for name in ("control_frames_max", "loaded_runs_max"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} = {value!r}: must be a whole number above 0")
        for name in ("stop_timeout_s", "go_away_retry_after_s", "go_away_spread_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= _S_MAX):
                raise ConfigError(f"{name} = {value!r}: must be seconds, from 0 to {_S_MAX:g}")
        for origin in self.allowed_origins:
            check_origin(origin)
        EventRegistry(self.event_types)
        if self.secret is not None:
            check_secret(self.secret)
        elif not is_loopback(self.host):
            raise ConfigError(
                f"host = {self.host!r}: without a secret everyone who can reach this server would be believed; "
                "give a secret (--secret-file FILE), or listen on 127.0.0.1"
            )

    @property
    def websocket_limits(self) -> WebSocketLimits:
        """The limits of one WebSocket, agreeing with the protocol's."""
        return replace(self.websocket, message_bytes_max=self.protocol.frame_bytes_max)
