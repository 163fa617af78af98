"""One client's access link: its path to the server, its connections, and its faults (`link_state`).

This is the emulator's access link in virtual time.
"""

from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from reference.protocol import frames
from simulation.clock import Clock
from simulation.network.cell import SimulatedCell
from simulation.network.delay import bottleneck_of, clear_after, directions_of
from simulation.network.link_state import LinkConnection, LinkState, without
from simulation.network.names import Resolver, Zone
from simulation.network.ports import Ports
from simulation.random import RandomStreams
from simulation.scenario.faults import DnsFailure, LinkFault, Outage
from simulation.scenario.paths import Path
from simulation.trace.frames_seen import Moment, Watch, Way
from simulation.trace.trace import PathTrouble

Report = Callable[[str, PathTrouble, int], None]
"""Called when a link's path does something by itself: the client, what it was, and until when it lasts, in ns."""


class SimulatedConnection(LinkConnection, Protocol):
    @property
    def is_served(self) -> bool:
        """Whether a server process has its endpoint of this connection."""

    def lose_client(self) -> None:
        """The client's operating system ends its endpoint; the server is not notified."""

    def lose_server(self, *, is_notified: bool) -> None:
        """The server's endpoint is gone. `is_notified`: the client gets a reset; else the connection is silent from now on."""


C = TypeVar("C", bound=SimulatedConnection)


class AccessLink(LinkState, Generic[C]):
    """The access link of one client."""

    __slots__ = (
        "_connections",
        "_dns_failures",
        "_late_until",
        "_networks",
        "_opened",
        "_report",
        "clock",
        "counts_up",
        "directions",
        "down",
        "enter_cell_down",
        "enter_cell_up",
        "nat",
        "path",
        "resolver",
        "ticket",
        "up",
        "watch",
        "zone",
    )

    def __init__(
        self,
        clock: Clock,
        client: str,
        path: Path,
        random_source: RandomStreams,
        report: Report | None = None,
        cells: tuple[SimulatedCell, SimulatedCell] | None = None,
        zone: Zone | None = None,
        nat: Ports | None = None,
    ) -> None:
        """`cells`: the bottlenecks shared with other clients, up and down. `zone`: the server's name. `nat`: the NAT whose ports
        it uses."""
        super().__init__(client, path.middlebox.upgrades, random_source)
        self.clock = clock
        self._dns_failures: tuple[DnsFailure, ...] = ()
        self.nat = nat
        self.zone = zone or Zone()
        self.ticket: tuple[int, int] | None = None
        """Of the last TLS handshake: the server's key number, and until when it can be resumed, in ns."""
        self.enter_cell_up = None if cells is None else partial(cells[0].enter, client)
        self.enter_cell_down = None if cells is None else partial(cells[1].enter, client)
        self._networks = 0  # on how many it has been
        self._take_path(path)
        self.watch: Watch | None = None
        """Called with every frame, if set."""
        self._report = report
        self._late_until = 0
        self._connections: tuple[C, ...] = ()  # in the order in which they were opened; usually one
        self._opened = 0

    def _take_path(self, path: Path) -> None:
        self.path = path
        self.directions = directions_of(path)
        up, down = self.directions.up, self.directions.down
        name = f"{self.client}/network {self._networks}" if self._networks else self.client  # each has its own random numbers
        self._networks += 1
        self.up = bottleneck_of(up, self.random_source.of(f"{name}/up")) if up.is_shared else None
        self.down = bottleneck_of(down, self.random_source.of(f"{name}/down")) if down.is_shared else None
        """The bottlenecks that its connections share."""
        self.counts_up = up.counts_bytes or self.enter_cell_up is not None
        """Whether the size of what the client sends matters."""
        self.resolver = None if path.dns is None else Resolver(path.dns, self.zone, self, self.random_source.of(f"{name}/dns"))
        if self.resolver is not None:
            for fault in self._dns_failures:
                self.resolver.begin(fault, self.clock.now)

    @property
    def is_cut_off(self) -> bool:
        """Whether a DNS query sent now gets no answer."""
        return bool(self.outages)

    @property
    def connections(self) -> int:
        """How many connections still have at least one endpoint."""
        return len(self._connections)

    def saw(self, connection: C, way: Way, moment: Moment, frame: frames.Frame) -> None:
        """A frame leaves one endpoint of a connection, or arrives at the other. Only for a link with a `watch`."""
        assert self.watch is not None, "the caller has checked that there is one"
        self.watch(connection, self.client, way, moment, frame)

    def note_trouble(self, what: PathTrouble, until: int | None = None) -> None:
        """The path has done something to a connection by itself. `until`: it may do so again until then; None: only now."""
        if self._report is not None:
            self._report(self.client, what, self.clock.now if until is None else until)

    def note_late(self, until: int) -> None:
        """Something on a connection takes longer than the path's declared bound."""
        if until > self._late_until and self._report is not None:
            self._late_until = until
            self._report(self.client, "late", until)

    def add(self, connection: C) -> int:
        """A connection is being opened; returns its number on this link."""
        self._opened += 1
        self._connections = (*self._connections, connection)
        return self._opened

    def remove(self, connection: C) -> None:
        if connection in self._connections:
            self._connections = without(self._connections, connection)

    def served(self) -> tuple[C, ...]:
        """The connections that have an endpoint at a server process."""
        return tuple(connection for connection in self._connections if connection.is_served)

    def begin_dns_failure(self, fault: DnsFailure) -> None:
        """Until the failure is over, no name is resolved, whatever network the client uses."""
        self._dns_failures = (*self._dns_failures, fault)
        if self.resolver is not None:
            self.resolver.begin(fault, self.clock.now)

    def end_dns_failure(self, fault: DnsFailure) -> None:
        """Undo one `begin_dns_failure`."""
        self._dns_failures = without(self._dns_failures, fault)
        if self.resolver is not None:
            self.resolver.end(fault)

    def leave_network(self, path: Path | None, *, is_notified: bool) -> None:
        """The client is on another network from now on. `path`: the new path; None: the same as before."""
        standing = self._connections
        if path is not None:  # before anything is notified that might connect at once
            self.enter_cell_up = self.enter_cell_down = self.nat = None
            self.upgrades_normally = path.middlebox.upgrades
            self._take_path(path)
        for connection in standing:
            if is_notified:
                connection.lose_client()
            else:
                connection.silence()

    def lose_address(self, *, is_notified: bool) -> None:
        """The address of the connections is gone, with the processes that served them."""
        for connection in self._connections:
            connection.lose_server(is_notified=is_notified)

    def begin(self, fault: LinkFault) -> None:
        """`fault` begins on this link now."""
        self.begin_fault(fault, self._connections)

    def end(self, fault: LinkFault) -> None:
        """`fault`, which has begun, ends."""
        if isinstance(fault, Outage):
            clear_after(fault, (self.up, self.down), self.clock.now)
        self.end_fault(fault, self._connections)
