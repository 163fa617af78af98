"""Faults of connections, server, devices and names at given times, for simulator, emulator and property tests.

    faults of links        Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, LoadBalancerCut
    faults of the server   ServerRestart, RollingDeploy, Pause, SlowStore, ClockStep
    faults of devices      Suspend, BackgroundTab, NetworkChange   (the simulator only)
    faults of names        DnsFailure, Failover                    (the simulator only)

A path is the permanent property of the network between a client and the server (`simulation.scenario.paths`); a fault happens to
paths, or to the server, at a time. All faults are what TCP can do: stall, reset, half-open, refuse, slow.

Times are seconds from the start of the run. `clients` names the affected clients; empty means everyone.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, assert_never

import msgspec

from reference.protocol.errors import ConfigError
from simulation.scenario.paths import Path as Path
from simulation.scenario.paths import PositiveSeconds, Probability, Seconds

NAMES_SHOWN_MAX = 6

Direction = Literal["both", "up", "down"]
"""Of an outage or a half-open connection: up is from the client to the server."""


class _Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    at_s: Seconds
    """When it begins, in seconds from the start of the run."""
    clients: tuple[str, ...] = ()
    """Names of clients or groups that it affects; empty: everyone. A fault of the server affects everyone."""

    @property
    def end_s(self) -> float:
        """When the fault is over, in seconds."""
        return self.at_s + getattr(self, "duration_s", 0.0)

    def hits(self, client: str) -> bool:
        return not self.clients or client in self.clients


# Of links.


class Outage(_Fault, frozen=True, kw_only=True, tag="outage"):
    """The access link is a black hole: no data pass, in both directions or in one, and new connections hang. Data in flight are
    sent again when the link is up."""

    duration_s: Seconds
    """How long it lasts."""
    direction: Direction = "both"
    """Which direction is silent; up is towards the server."""


class Stall(_Fault, frozen=True, kw_only=True, tag="stall"):
    """Data from the server are held back and then all delivered; the other direction works."""

    duration_s: Seconds
    """How long it lasts."""


class Reset(_Fault, frozen=True, kw_only=True, tag="reset"):
    """Every connection is reset; both ends notice. New connections work."""


class HalfOpen(_Fault, frozen=True, kw_only=True, tag="half_open"):
    """Every connection that exists at `at_s` becomes silent for ever, in both directions or in one, and neither end is
    notified."""

    direction: Direction = "both"
    """Which direction is silent; up is towards the server."""


class Refuse(_Fault, frozen=True, kw_only=True, tag="refuse"):
    """New connections are refused; existing ones are not affected."""

    duration_s: Seconds
    """How long it lasts."""


class BlockUpgrade(_Fault, frozen=True, kw_only=True, tag="block_upgrade"):
    """A proxy that lets HTTP pass but no WebSocket upgrade, and cuts the WebSockets that exist at `at_s`.

    how: "block" answers 403; "strip" removes the header, so that the server answers as to plain HTTP (426); "hang" never answers.
    """

    duration_s: Seconds
    """How long it lasts."""
    how: Literal["block", "strip", "hang"] = "block"


class LoadBalancerCut(_Fault, frozen=True, kw_only=True, tag="load_balancer_cut"):
    """A load balancer restarts: this share of the connections (sampled for each client) is reset, and for `duration_s` new
    connections are refused to everyone."""

    share: Probability = 1.0
    """The probability with which a connection is reset."""
    duration_s: Seconds = 0.0
    """For how long new connections are refused."""


LinkFault = Outage | Stall | Reset | HalfOpen | Refuse | BlockUpgrade | LoadBalancerCut


# Of the server.


class _ServerFault(_Fault, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        if self.clients:
            raise ConfigError(f"a {type(self).__struct_config__.tag} hits everyone; remove its clients")


class ServerRestart(_ServerFault, frozen=True, kw_only=True, tag="server_restart"):
    """The server process ends and is started again after `duration_s`.

    It is killed, or `is_graceful`: it sends its clients away with a wait and a spread, stores what it has accepted, and then
    ends. Its store survives, unless it `loses_state`: then the store is lost as well, and a new history begins (another epoch).
    If the process is still stopping after `duration_s`, its end is awaited.
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

    Each in turn sends its clients away (with a wait and a spread if it `is_graceful`, else by a reset) and takes no new ones
    until the next one's turn.
    """

    duration_s: PositiveSeconds
    """How long it takes in all."""
    is_graceful: bool = True
    """Whether clients are sent away, not reset."""


class Pause(_ServerFault, frozen=True, kw_only=True, tag="pause"):
    """The server process is paused (a garbage collection, a suspended machine); arriving data wait in its buffers."""

    duration_s: Seconds
    """How long it lasts."""


class SlowStore(_ServerFault, frozen=True, kw_only=True, tag="slow_store"):
    """Every commit takes `factor` times as long."""

    duration_s: Seconds
    """How long it lasts."""
    factor: Annotated[float, msgspec.Meta(ge=1, le=1_000_000)]
    """The factor of the commit time."""


class ClockStep(_ServerFault, frozen=True, kw_only=True, tag="clock_step"):
    """The server's wall clock jumps by `step_s`, forwards or backwards. Its monotonic clock does not, and a process reads the
    wall clock when it starts, so the jump has effects after the next restart: on the times of events, and on tokens."""

    step_s: Annotated[float, msgspec.Meta(ge=-86_400 * 366, le=86_400 * 366)]


ServerFault = ServerRestart | RollingDeploy | Pause | SlowStore | ClockStep


# Of devices.


class Suspend(_Fault, frozen=True, kw_only=True, tag="suspend"):
    """The machine of a client sleeps, like a closed laptop. No data pass, no timer goes off, and its user does nothing.

    clock: whether the clock of the client's timers counts the time of the sleep ("counts": Windows, CLOCK_BOOTTIME on
    Linux, which our clients use) or stops ("stops": CLOCK_MONOTONIC on Linux, most timers of macOS). Times in seconds.
    """

    duration_s: Seconds
    clock: Literal["counts", "stops"] = "counts"


class BackgroundTab(_Fault, frozen=True, kw_only=True, tag="background_tab"):
    """A browser's tab is in the background: its timers go off at most every `timers_every_s`, at the browser's ticks.

    Arriving messages wake it as always. Browsers use 1 s, and Chromium 60 s after five minutes in the background. Times in
    seconds.
    """

    duration_s: Seconds
    timers_every_s: PositiveSeconds = 1.0


class NetworkChange(_Fault, frozen=True, kw_only=True, tag="network_change"):
    """A client changes from one network to another, or its NAT gives it another address: existing connections are dead, and new
    ones work after a gap of `duration_s` seconds (0: at once).

    is_notified: the client's operating system closes its sockets at once (Android, iOS); otherwise they become silent without a
    notification. The server is never notified. path: the path from then on; None: one like the one before.
    """

    duration_s: Seconds = 0.0
    is_notified: bool = False
    path: Path | None = None


DeviceFault = Suspend | BackgroundTab | NetworkChange


# Of names.


class DnsFailure(_Fault, frozen=True, kw_only=True, tag="dns_failure"):
    """No name is resolved, except from a cache (`path.dns`). how: a query is answered with an error ("error"), or never
    ("timeout"). Times in seconds."""

    duration_s: Seconds
    how: Literal["timeout", "error"] = "timeout"


class Failover(_ServerFault, frozen=True, kw_only=True, tag="failover"):
    """The server's address is gone, and another takes over, with the same log. After `duration_s` seconds the name (`path.dns`)
    has the new address; until an answer with the old address has expired, clients continue to use that.

    old_address: it is silent, or "refuses" (existing connections are reset). A client without `path.dns` has a floating
    address: it loses its connection, and a new one works at once.
    """

    duration_s: Seconds
    old_address: Literal["silent", "refuses"] = "silent"


NameFault = DnsFailure | Failover
Fault = LinkFault | ServerFault | DeviceFault | NameFault


_TOWARDS = {"both": "", "up": " towards the server", "down": " towards the client"}


def describe(fault: Fault) -> str:
    """A text about a fault, for its beginning."""
    whom = enumerate_names(fault.clients) if fault.clients else "everyone"
    match fault:
        case Outage(duration_s=lasts_s, direction=direction):
            return f"{whom}: the access link is down{_TOWARDS[direction]} for {lasts_s:.1f} s"
        case Stall(duration_s=lasts_s):
            return f"{whom}: data from the server are held back for {lasts_s:.1f} s"
        case Reset():
            return f"{whom}: every connection is reset"
        case HalfOpen(direction=direction):
            return f"{whom}: every connection becomes silent{_TOWARDS[direction]} for ever, without a notification"
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
            return f"the server process is paused for {lasts_s:.1f} s"
        case SlowStore(duration_s=lasts_s, factor=factor):
            return f"the store takes {factor:g} times as long for {lasts_s:.1f} s"
        case ClockStep(step_s=step_s):
            return f"the server's wall clock jumps by {step_s:+g} s"
        case Suspend(duration_s=lasts_s, clock=clock):
            return f"{whom}: the machine sleeps for {lasts_s:.1f} s{', and its clock stops' if clock == 'stops' else ''}"
        case BackgroundTab(duration_s=lasts_s, timers_every_s=every_s):
            return f"{whom}: in the background for {lasts_s:.1f} s, with timers every {every_s:g} s"
        case NetworkChange(duration_s=lasts_s, is_notified=is_notified):
            gap = f", {lasts_s:.1f} s without one" if lasts_s else ""
            return f"{whom}: another network{gap}; the old connections {'end' if is_notified else 'become silent'}"
        case DnsFailure(duration_s=lasts_s):
            return f"{whom}: no name is resolved for {lasts_s:.1f} s"
        case Failover(duration_s=lasts_s):
            return f"the server's address dies; its name changes after {lasts_s:.1f} s"
        case _:
            assert_never(fault)


def enumerate_names(names: Sequence[str]) -> str:
    """A list of names as text, shortened if there are many."""
    if len(names) > NAMES_SHOWN_MAX:
        return f"{', '.join(names[: NAMES_SHOWN_MAX - 1])} and {len(names) - NAMES_SHOWN_MAX + 1} more"
    return ", ".join(names)
