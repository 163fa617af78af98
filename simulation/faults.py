"""What networks and servers do to connections: one vocabulary for the simulator, the emulator and the property tests.

A path is the standing property of one way between a client and the server; a fault is something that happens to paths, or to the
server, at a time. Everything here is what TCP can do: stall, reset, half-open, refuse, slow. A single lost message on a
WebSocket cannot happen, so it is not in the list.

Times are seconds from the start of the run. `clients` names whom a fault hits, by client name; empty means everyone.
"""

from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError

Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Path(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way between a client and the server, the same in both directions, without faults.

    latency_s: one-way propagation. jitter_s: added per chunk, uniform on [0, jitter_s); order is kept, as TCP does.
    bandwidth_bytes_per_s: the bottleneck, in each direction; None is unlimited.
    """

    latency_s: Seconds = 0.02
    jitter_s: Seconds = 0.0
    bandwidth_bytes_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    at_s: Seconds
    clients: tuple[str, ...] = ()

    @property
    def end_s(self) -> float:
        """When the fault is over, in seconds."""
        return self.at_s + getattr(self, "duration_s", 0.0)

    def hits(self, client: str) -> bool:
        return not self.clients or client in self.clients


class Outage(_Fault, frozen=True, kw_only=True, tag="outage"):
    """The line is down: nothing passes either way, new connections hang. Bytes in flight are sent again when it is back up."""

    duration_s: Seconds


class Stall(_Fault, frozen=True, kw_only=True, tag="stall"):
    """Bytes from the server are held back and then all delivered; the other direction flows."""

    duration_s: Seconds


class Reset(_Fault, frozen=True, kw_only=True, tag="reset"):
    """Every connection is cut at once; both ends notice. New connections work."""


class HalfOpen(_Fault, frozen=True, kw_only=True, tag="half_open"):
    """Every connection that stands at `at_s` goes silent for ever, in both directions, and neither end is told."""


class Refuse(_Fault, frozen=True, kw_only=True, tag="refuse"):
    """New connections are refused; the ones that stand are left alone."""

    duration_s: Seconds


class BlockUpgrade(_Fault, frozen=True, kw_only=True, tag="block_upgrade"):
    """A proxy that lets HTTP pass but answers 403 to every WebSocket upgrade, and cuts the WebSockets that stand at `at_s`."""

    duration_s: Seconds


class ServerRestart(_Fault, frozen=True, kw_only=True, tag="server_restart"):
    """The server process is killed hard and started again after `duration_s`; it keeps what its store holds. Hits everyone."""

    duration_s: Seconds

    def __post_init__(self) -> None:
        if self.clients:
            raise ConfigError("a server_restart hits everyone; remove its clients")


Fault = Outage | Stall | Reset | HalfOpen | Refuse | BlockUpgrade | ServerRestart
