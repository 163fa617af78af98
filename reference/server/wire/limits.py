"""Limits of the byte level (9.5), for one connection and for all together, with the unit in each name.

An open port can be reached by everyone: each limit here says what happens if a peer sends something for ever, or
never.
"""

import math
from dataclasses import dataclass, fields

from reference.protocol.errors import ConfigError


class _Positive:
    """Refuses limits that are not above zero and finite."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # a base class; its subclasses are dataclasses
            value = getattr(self, field.name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{field.name} must be above 0 and finite, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits(_Positive):
    """Limits of the front door: HTTP, and WebSocket until the handshake is done."""

    head_bytes_max: int = 16 * 1024
    """Request line and headers together; above it 431."""
    body_bytes_max: int = 1024 * 1024
    """Body of one request; above it 413."""
    head_timeout_s: float = 10.0
    """From the first byte of a request to the end of its head; after it 408. A connection that never sends a
    byte is closed.
    """
    keep_alive_timeout_s: float = 60.0
    """Idle time between two requests; then the connection is closed without an answer, as HTTP expects."""
    request_timeout_s: float = 60.0
    """From the head of a request to the end of its answer, long polls included; after it 503, or a cut if the
    answer has begun.
    """
    connections_max: int = 10_000
    """Open connections of both kinds; above it 503."""
    refusals_max: int = 100
    """Connections above `connections_max` that are being refused, or whose health request is answered, and connections of one
    address above `connections_per_address_max`; above it they are closed by force, without an answer."""
    connections_per_address_max: int | None = None
    """Open connections of one IP address; above it 503. None: no limit, as behind a proxy, whose one address is that of all
    clients; so is that of another process that relays."""
    retry_after_ms: int = 5_000
    """The wait that a 503 asks a client for."""
    drain_timeout_s: float = 2.0
    """How long to discard input after the last answer of a connection: see `HttpWire.close`."""
    drain_bytes_max: int = 1024 * 1024
    """How many bytes to discard then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits(_Positive):
    """Limits of one WebSocket connection."""

    message_bytes_max: int = 64 * 1024
    """One incoming message, in bytes of its UTF-8; above it close code 4413."""
    message_fragments_max: int = 128
    """Frames into which one incoming message may be split; above it 4413. Otherwise empty fragments would cost the sender
    nothing."""
    handshake_timeout_s: float = 10.0
    """For the peer to take our answer to the upgrade."""
    close_timeout_s: float = 5.0
    """For the handler to return after `close`, and then again for the peer to answer our close frame; then the connection is
    closed by force."""
    drain_bytes_max: int = 1024 * 1024
    """How many bytes to read until that answer arrives; above it the connection is closed by force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenLimits(_Positive):
    """Limits of the listening socket."""

    backlog_connections: int = 1024
    """Connections that the kernel may hold before we accept them; it may lower this (net.core.somaxconn)."""
    accept_burst_max: int = 64
    """Connections accepted at once before other tasks run."""
    accept_pause_s: float = 0.1
    """Wait after the system had no resources for another connection."""
    send_buffer_bytes: int | None = 256 * 1024
    """What the kernel may buffer for one slow reader. None lets the kernel choose, which is up to 4 MB on a common Linux."""
