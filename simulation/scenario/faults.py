"""What happens to connections and to the server at a time: one vocabulary for the simulator, the emulator and the property tests.

    faults of lines        Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, LoadBalancerCut
    faults of the server   ServerRestart, RollingDeploy, Pause, SlowStore, ClockStep
    faults of devices      Suspend, BackgroundTab, NetworkChange   (the simulator only)
    faults of names        DnsFailure, Failover                    (the simulator only)

A path is the standing property of one way between a client and the server (`simulation.scenario.paths`); a fault is something
that happens to paths, or to the server, at a time. Everything here is what TCP can do: stall, reset, half-open, refuse, slow.

Times are seconds from the start of the run. `clients` names whom a fault hits, by client name; empty means everyone.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, assert_never

import msgspec

from reference.protocol.errors import ConfigError
from simulation.scenario.paths import Path, PositiveSeconds, Probability, Seconds

__all__ = [
    "BackgroundTab",
    "BlockUpgrade",
    "ClockStep",
    "DeviceFault",
    "Direction",
    "DnsFailure",
    "Failover",
    "Fault",
    "HalfOpen",
    "LineFault",
    "LoadBalancerCut",
    "NameFault",
    "NetworkChange",
    "Outage",
    "Path",
    "Pause",
    "Refuse",
    "Reset",
    "RollingDeploy",
    "ServerFault",
    "ServerRestart",
    "SlowStore",
    "Stall",
    "Suspend",
    "UpgradeHandling",
    "describe",
    "enumerate_names",
]

NAMES_SHOWN_MAX = 6

Direction = Literal["both", "up", "down"]
"""Of a black hole: up is from the client to the server."""
UpgradeHandling = Literal["pass", "block", "strip", "hang"]
"""What becomes of a request for a WebSocket: it passes, is answered with 403, loses its header, is never answered."""


class _Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    at_s: Seconds
    """When it begins, in seconds from the start of the run."""
    clients: tuple[str, ...] = ()
    """Names of clients or groups that it hits; empty: everyone. A fault of the server hits everyone."""

    @property
    def end_s(self) -> float:
        """When the fault is over, in seconds."""
        return self.at_s + getattr(self, "duration_s", 0.0)

    def hits(self, client: str) -> bool:
        return not self.clients or client in self.clients


# Of lines.


class Outage(_Fault, frozen=True, kw_only=True, tag="outage"):
    """The line is a black hole: nothing passes, in both directions or in one, and new connections hang. Bytes in flight are sent
    again when it is back up."""

    duration_s: Seconds
    """How long it lasts."""
    direction: Direction = "both"
    """Which direction is silent; up is towards the server."""


class Stall(_Fault, frozen=True, kw_only=True, tag="stall"):
    """Bytes from the server are held back and then all delivered; the other direction flows."""

    duration_s: Seconds
    """How long it lasts."""


class Reset(_Fault, frozen=True, kw_only=True, tag="reset"):
    """Every connection is cut at once; both ends notice. New connections work."""


class HalfOpen(_Fault, frozen=True, kw_only=True, tag="half_open"):
    """Every connection that stands at `at_s` goes silent for ever, in both directions or in one, and neither end is told."""

    direction: Direction = "both"
    """Which direction is silent; up is towards the server."""


class Refuse(_Fault, frozen=True, kw_only=True, tag="refuse"):
    """New connections are refused; the ones that stand are left alone."""

    duration_s: Seconds
    """How long it lasts."""


class BlockUpgrade(_Fault, frozen=True, kw_only=True, tag="block_upgrade"):
    """A proxy that lets HTTP pass but no WebSocket upgrade, and cuts the WebSockets that stand at `at_s`.

    how: "block" answers 403; "strip" removes the header, so that the server answers as to plain HTTP (426); "hang" never answers.
    """

    duration_s: Seconds
    """How long it lasts."""
    how: Literal["block", "strip", "hang"] = "block"


class LoadBalancerCut(_Fault, frozen=True, kw_only=True, tag="load_balancer_cut"):
    """A load balancer goes away and comes back: this share of the connections (a draw for each client decides) is reset, and for
    `duration_s` new ones are refused to everyone."""

    share: Probability = 1.0
    """The probability with which a connection is reset."""
    duration_s: Seconds = 0.0
    """For how long new connections are refused."""


LineFault = Outage | Stall | Reset | HalfOpen | Refuse | BlockUpgrade | LoadBalancerCut


# Of the server.


class _ServerFault(_Fault, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        if self.clients:
            raise ConfigError(f"a {type(self).__struct_config__.tag} hits everyone; remove its clients")


class ServerRestart(_ServerFault, frozen=True, kw_only=True, tag="server_restart"):
    """The server process ends and is started again after `duration_s`.

    Killed hard, or `is_graceful`: it sends its clients away with a wait and a spread, stores what it has accepted, and then ends.
    It keeps what its store holds, unless it `loses_state`: then the store is gone as well, and history begins anew (another
    epoch). A process that is still stopping after `duration_s` is waited for.
    """

    duration_s: Seconds
    """How long it lasts."""
    is_graceful: bool = False
    """Whether it sends its clients away and stores what it has accepted before it ends."""
    loses_state: bool = False
    """Whether its store is lost too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_graceful and self.loses_state:
            raise ConfigError("a server_restart that is_graceful keeps its store; remove is_graceful or loses_state")


class RollingDeploy(_ServerFault, frozen=True, kw_only=True, tag="rolling_deploy"):
    """The server's instances are replaced one after the other within `duration_s`.

    Each in turn sends the clients that are connected to it away (with a wait and a spread if it `is_graceful`, else by a reset)
    and takes no new ones until it is the next one's turn.
    """

    duration_s: PositiveSeconds
    """How long it takes in all."""
    is_graceful: bool = True
    """Whether clients are sent away, and not reset."""


class Pause(_ServerFault, frozen=True, kw_only=True, tag="pause"):
    """The server process stands still (a garbage collection, a suspended machine); what comes meanwhile waits in its buffers."""

    duration_s: Seconds
    """How long it lasts."""


class SlowStore(_ServerFault, frozen=True, kw_only=True, tag="slow_store"):
    """Every commit takes `factor` times as long."""

    duration_s: Seconds
    """How long it lasts."""
    factor: Annotated[float, msgspec.Meta(ge=1, le=1_000_000)]
    """How many times as long."""


class ClockStep(_ServerFault, frozen=True, kw_only=True, tag="clock_step"):
    """The server's wall clock jumps by `step_s`, forwards or backwards. Its monotonic time does not, and a process reads the wall
    clock when it starts, so the jump is felt after the next restart: by the times of events, and by tokens."""

    step_s: Annotated[float, msgspec.Meta(ge=-86_400 * 366, le=86_400 * 366)]


ServerFault = ServerRestart | RollingDeploy | Pause | SlowStore | ClockStep


# Of devices.


class Suspend(_Fault, frozen=True, kw_only=True, tag="suspend"):
    """The machine of a client sleeps: its lid is closed. Nothing passes, no timer goes off, and its user does nothing.

    clock: whether the clock that the client's timers go by counts the time of the sleep ("counts": Windows, CLOCK_BOOTTIME on
    Linux, which our clients use) or stands still ("stops": CLOCK_MONOTONIC on Linux, most timers of macOS). Times in seconds.
    """

    duration_s: Seconds
    clock: Literal["counts", "stops"] = "counts"


class BackgroundTab(_Fault, frozen=True, kw_only=True, tag="background_tab"):
    """A browser's tab is in the background: its timers go off at most every `timers_every_s`, at ticks of the browser's own.

    Messages that arrive wake it as always. Browsers take 1 s, and Chromium 60 s after five minutes out of sight. Times in
    seconds.
    """

    duration_s: Seconds
    timers_every_s: PositiveSeconds = 1.0


class NetworkChange(_Fault, frozen=True, kw_only=True, tag="network_change"):
    """A client changes from one network to another, or its NAT gives it another address: the connections that stand are dead,
    and new ones work after a gap of `duration_s` seconds (0: at once).

    is_told: the client's operating system ends its sockets at once (Android, iOS); otherwise they go silent and nobody is told.
    The server is never told. path: the path from then on; None: one like the one before.
    """

    duration_s: Seconds = 0.0
    is_told: bool = False
    path: Path | None = None


DeviceFault = Suspend | BackgroundTab | NetworkChange


# Of names.


class DnsFailure(_Fault, frozen=True, kw_only=True, tag="dns_failure"):
    """No name is resolved, but from a cache (`path.dns`). how: a query is answered with an error ("error"), or never ("timeout").
    Times in seconds."""

    duration_s: Seconds
    how: Literal["timeout", "error"] = "timeout"


class Failover(_ServerFault, frozen=True, kw_only=True, tag="failover"):
    """The server's address dies, and another takes over, with the same log. After `duration_s` seconds the name (`path.dns`) says
    so; until an answer with the old address has expired, clients go on to dial that.

    old_address: it is silent, or "refuses" (connections that stand are reset). A client without `path.dns` has a floating
    address: it loses its connection, and a new one works at once.
    """

    duration_s: Seconds
    old_address: Literal["silent", "refuses"] = "silent"


NameFault = DnsFailure | Failover
Fault = LineFault | ServerFault | DeviceFault | NameFault


def describe(fault: Fault) -> str:
    """A fault in words, as it begins."""
    whom = enumerate_names(fault.clients) if fault.clients else "everyone"
    match fault:
        case Outage(duration_s=lasts_s, direction=direction):
            way = {"both": "", "up": " towards the server", "down": " towards the client"}[direction]
            return f"{whom}: the line is down{way} for {lasts_s:.1f} s"
        case Stall(duration_s=lasts_s):
            return f"{whom}: nothing comes from the server for {lasts_s:.1f} s"
        case Reset():
            return f"{whom}: every connection is reset"
        case HalfOpen(direction=direction):
            way = {"both": "", "up": " towards the server", "down": " towards the client"}[direction]
            return f"{whom}: every connection goes silent{way} for good, and nobody is told"
        case Refuse(duration_s=lasts_s):
            return f"{whom}: new connections are refused for {lasts_s:.1f} s"
        case BlockUpgrade(duration_s=lasts_s, how=how):
            answer = {"block": "forbidden", "strip": "stripped of its upgrade", "hang": "left without an answer"}[how]
            return f"{whom}: WebSocket is cut and {answer} for {lasts_s:.1f} s"
        case LoadBalancerCut(duration_s=lasts_s, share=share):
            return f"{whom}: the load balancer cuts {share:.0%} of the connections and takes none for {lasts_s:.1f} s"
        case ServerRestart(duration_s=lasts_s, is_graceful=is_graceful, loses_state=loses_state):
            end = "stops gracefully" if is_graceful else "is killed (SIGKILL)"
            loss = ", its store is lost" if loses_state else ""
            return f"the server {end}{loss}, to be started again after {lasts_s:.1f} s"
        case RollingDeploy(duration_s=lasts_s):
            return f"the server's instances are replaced one after the other within {lasts_s:.1f} s"
        case Pause(duration_s=lasts_s):
            return f"the server process stands still for {lasts_s:.1f} s"
        case SlowStore(duration_s=lasts_s, factor=factor):
            return f"the store takes {factor:g} times as long for {lasts_s:.1f} s"
        case ClockStep(step_s=step_s):
            return f"the server's wall clock jumps by {step_s:+g} s"
        case Suspend(duration_s=lasts_s, clock=clock):
            return f"{whom}: the machine sleeps for {lasts_s:.1f} s{', and its clock stands still' if clock == 'stops' else ''}"
        case BackgroundTab(duration_s=lasts_s, timers_every_s=every_s):
            return f"{whom}: in the background for {lasts_s:.1f} s, with timers every {every_s:g} s"
        case NetworkChange(duration_s=lasts_s, is_told=is_told):
            gap = f", {lasts_s:.1f} s without one" if lasts_s else ""
            return f"{whom}: another network{gap}; the old connections {'end' if is_told else 'go silent'}"
        case DnsFailure(duration_s=lasts_s):
            return f"{whom}: no name is resolved for {lasts_s:.1f} s"
        case Failover(duration_s=lasts_s):
            return f"the server's address dies; its name changes after {lasts_s:.1f} s"
        case _:
            assert_never(fault)


def enumerate_names(names: Sequence[str]) -> str:
    """Names as one writes them, not too many."""
    if len(names) > NAMES_SHOWN_MAX:
        return f"{', '.join(names[: NAMES_SHOWN_MAX - 1])} and {len(names) - NAMES_SHOWN_MAX + 1} more"
    return ", ".join(names)
