"""What one connection, and all of them together, may cost: every limit of the byte level (9.5), with its unit in
its name.

An open port is open to everyone: each number here is the answer to "and what if a peer sends this for ever,
or never?".
"""

import math
from dataclasses import dataclass, fields

from reference.protocol.errors import ConfigError


class _Positive:
    """Refuses limits that are not above zero and finite: no limit here has a meaning at 0, and 'unlimited' is no limit."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # a base class; its heirs are dataclasses
            value = getattr(self, field.name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{field.name} must be above 0 and finite, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits(_Positive):
    """Limits of the front door: HTTP, and WebSocket until the handshake is done."""

    head_bytes_max: int = 16 * 1024
    """Request line and headers together; beyond it 431."""
    body_bytes_max: int = 1024 * 1024
    """Body of one request; beyond it 413."""
    head_timeout_s: float = 10.0
    """From the first byte of a request to the end of its head; after it 408. A connection that never sends a
    byte is closed.
    """
    keep_alive_timeout_s: float = 60.0
    """Idle time between two requests; after it the connection is closed without a word, as HTTP expects."""
    request_timeout_s: float = 60.0
    """From the head of a request to the end of its answer, long polls included; after it 503, or a cut if the
    answer has begun.
    """
    connections_max: int = 10_000
    """Open connections of both kinds; beyond it 503."""
    refusals_max: int = 100
    """Connections beyond `connections_max` that are being refused, or whose request for health is answered;
    beyond it they are closed by force, without an answer.
    """
    connections_per_address_max: int | None = None
    """Open connections of one IP address; beyond it 503. None: no limit, as behind a proxy, which is one
    address for everybody.
    """
    retry_after_ms: int = 5_000
    """What a 503 asks a client to wait."""
    drain_timeout_s: float = 2.0
    """How long to go on reading, for nothing, after the last answer of a connection: see `HttpWire.part`."""
    drain_bytes_max: int = 1024 * 1024
    """How many bytes to read for nothing then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits(_Positive):
    """Limits of one WebSocket connection."""

    message_bytes_max: int = 64 * 1024
    """One incoming message, in bytes of its UTF-8; beyond it close code 4413."""
    message_fragments_max: int = 128
    """Frames that one incoming message may be cut into; beyond it 4413. Empty fragments would otherwise be
    free.
    """
    handshake_timeout_s: float = 10.0
    """For the peer to take our answer to the upgrade."""
    close_timeout_s: float = 5.0
    """For the handler to return after `close`, and then again for the peer to answer our close frame; after
    it by force.
    """
    drain_bytes_max: int = 1024 * 1024
    """How many bytes to read then until that answer comes; beyond it by force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenLimits(_Positive):
    """Limits of the listening socket."""

    backlog_connections: int = 1024
    """Connections that the kernel may hold before we accept them; it may lower this (net.core.somaxconn)."""
    accept_burst_max: int = 64
    """Connections accepted in one go before other tasks have their turn."""
    accept_pause_s: float = 0.1
    """Wait after the system had no resources for another connection."""
    send_buffer_bytes: int | None = 256 * 1024
    """What the kernel may hold for one slow reader. None lets it grow as it likes, which is 4 MB on a common
    Linux.
    """
