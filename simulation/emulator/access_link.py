"""One client's access link between real sockets: its path to the server, its connections, and its faults.

The faults are the simulator's (`simulation.network.link_state`). `begin` and `end` are plain functions: between two trio
checkpoints a fault has happened or it has not.
"""

import abc
from typing import Literal, assert_never

import trio
from trio.abc import HalfCloseableStream

from reference.protocol.errors import ConfigError
from reference.protocol.timers import ns
from simulation.emulator.connection import EmulatedConnection
from simulation.emulator.errors import EmulatorError, check_link_fault, check_path
from simulation.emulator.sockets import LOOPBACK, Connect, Door, abort
from simulation.emulator.statistics import Counters, FaultJournal, LinkStatistics
from simulation.network.delay import Bottlenecks, PathDirections, bottleneck_of, clear_after
from simulation.network.link_state import LinkState
from simulation.random import RandomStreams
from simulation.scenario.faults import (
    BackgroundTab,
    BlockUpgrade,
    ClockStep,
    Direction,
    DnsFailure,
    Failover,
    Fault,
    HalfOpen,
    LinkFault,
    LoadBalancerCut,
    NetworkChange,
    Outage,
    Pause,
    Refuse,
    Reset,
    RollingDeploy,
    ServerRestart,
    SlowStore,
    Stall,
    Suspend,
)
from simulation.scenario.paths import Path

BUFFER_BYTES_MAX = 256 * 1024
"""The default buffer of one direction of one connection, in bytes."""


class FaultVerbs(abc.ABC):
    """Faults as methods, the same for one link and for all links of an emulator. Durations are in seconds; ConfigError for a
    negative or infinite one.

    A verb lasts as long as its fault: it returns when the fault is over, and cancelling it ends the fault early. Overlapping
    verbs compose: the link is up again when every outage on it is over.
    """

    @abc.abstractmethod
    async def apply(self, fault: Fault) -> None:
        """Let `fault` happen now, whatever its `at_s`, and return when it is over."""

    async def outage(self, duration_s: float, direction: Direction = "both") -> None:
        """No data pass and new connections hang; afterwards lost data are sent again."""
        await self.apply(Outage(at_s=0, duration_s=duration_s, direction=direction))

    async def stall(self, duration_s: float) -> None:
        """Data from the server are held back, then delivered all at once; the other direction works."""
        await self.apply(Stall(at_s=0, duration_s=duration_s))

    async def reset(self) -> None:
        """Cut every connection at once, with a reset to both ends; half-open ones stay silent."""
        await self.apply(Reset(at_s=0))

    async def half_open(self, direction: Direction = "both") -> None:
        """Make every existing connection silent for ever; new ones work."""
        await self.apply(HalfOpen(at_s=0, direction=direction))

    async def refuse(self, duration_s: float) -> None:
        """Refuse new connections; existing ones are not affected."""
        await self.apply(Refuse(at_s=0, duration_s=duration_s))

    async def block_upgrade(self, duration_s: float, how: Literal["block", "strip", "hang"] = "block") -> None:
        """Cut existing WebSockets; answer 403 to every upgrade, strip its headers, or never answer it. Other HTTP passes."""
        await self.apply(BlockUpgrade(at_s=0, duration_s=duration_s, how=how))

    async def load_balancer_cut(self, duration_s: float, share: float = 1.0) -> None:
        """Cut this share of the links, the same ones each time, and refuse all new connections."""
        await self.apply(LoadBalancerCut(at_s=0, duration_s=duration_s, share=share))


class EmulatedAccessLink(FaultVerbs):
    """The access link of `client`. `Emulator.add_link` makes it; made directly it has no port until `listen`."""

    def __init__(
        self,
        client: str,
        path: Path,
        connect: Connect,
        random_source: RandomStreams,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        journal: FaultJournal | None = None,
    ) -> None:
        """ConfigError for an invalid `path` or `buffer_bytes_max` (at least 1)."""
        check_path(path)
        if buffer_bytes_max < 1:
            raise ConfigError(f"buffer_bytes_max must be at least 1, not {buffer_bytes_max!r}")
        self.client = client
        self.path = path
        self._connect = connect
        self._random_source = random_source
        self._buffer_bytes_max = buffer_bytes_max
        self._journal = FaultJournal() if journal is None else journal
        self._directions, self._bottlenecks = self._worked_out(path)
        self._state = LinkState(client, path.middlebox.upgrades, random_source)
        self._counters = Counters()
        self._connections: dict[int, EmulatedConnection] = {}
        self._door: Door | None = None

    @property
    def port(self) -> int:
        """The port where the client finds the server. EmulatorError on a link without a port."""
        if self._door is None:
            raise EmulatorError(f"the link of {self.client!r} has no port")
        return self._door.port

    def listen(self, nursery: trio.Nursery, port: int = 0, *, host: str = LOOPBACK) -> None:
        """Accept connections at `port` (0: any) of `host` from now on. EmulatorError if the port is in use."""
        self._door = Door(nursery, self.serve, port, host=host)

    def change_path(self, path: Path) -> None:
        """Use `path` from now on, also for existing connections. Those keep the `tcp` and the ages and idle times of the
        `middlebox` with which they were opened. ConfigError for an invalid path; then nothing has changed."""
        check_path(path)
        self._directions, self._bottlenecks = self._worked_out(path)
        self.path = path
        self._state.upgrades_normally = path.middlebox.upgrades
        for connection in self._connections.values():
            connection.change_path(path, self._bottlenecks)

    def _worked_out(self, path: Path) -> tuple[PathDirections, Bottlenecks]:
        directions = PathDirections(path)
        up, down = (self._random_source.of(f"{self.client}/{way}") for way in ("up", "down"))
        return directions, (bottleneck_of(directions.up, up), bottleneck_of(directions.down, down))

    def close(self) -> None:
        """Release the port. Connections end with the nursery that runs them."""
        if self._door is not None:
            self._door.close()

    async def serve(self, client: HalfCloseableStream) -> None:
        """Carry one connection until both its ends are gone; any stream will do, not only the port's."""
        if self._state.refusals:
            self._counters.connections_refused += 1
            abort(client)
            await trio.aclose_forcefully(client)
            return
        number = self._counters.connections_opened
        self._counters.connections_opened += 1
        connection = self._connections[number] = EmulatedConnection(
            f"{self.client}/{number}",
            client,
            self._connect,
            directions=self._directions,
            bottlenecks=self._bottlenecks,
            random_source=self._random_source,
            origin=self._journal.opened_at,
            state=self._state,
            counters=self._counters,
            buffer_bytes_max=self._buffer_bytes_max,
        )
        try:
            await connection.run()
        finally:
            del self._connections[number]

    async def apply(self, fault: Fault) -> None:
        self.begin(fault)
        try:
            await trio.sleep(fault.end_s - fault.at_s)
        finally:
            self.end(fault)

    def begin(self, fault: Fault) -> None:
        """Let `fault` begin now; the caller will call `end`. ConfigError for an invalid fault."""
        check_link_fault(fault)
        match fault:
            case ServerRestart() | RollingDeploy() | Pause() | SlowStore() | ClockStep():
                raise AssertionError("check_link_fault has refused it")
            case Suspend() | BackgroundTab() | NetworkChange() | DnsFailure() | Failover():
                raise AssertionError("check_link_fault has refused it")
            case Outage() | Stall() | Reset() | HalfOpen() | Refuse() | BlockUpgrade() | LoadBalancerCut():
                self._state.begin_fault(fault, tuple(self._connections.values()))
                self._set_door()
            case _:
                assert_never(fault)
        self._journal.note(fault, self.client)

    def end(self, fault: Fault) -> None:
        """`fault`, which has begun, ends."""
        if isinstance(fault, Outage):
            clear_after(fault, self._bottlenecks, ns(trio.current_time() - self._journal.opened_at))
        if isinstance(fault, LinkFault):
            self._state.end_fault(fault, tuple(self._connections.values()))
            self._set_door()

    def _set_door(self) -> None:
        if self._door is None or self._door.is_open != bool(self._state.refusals):
            return
        (self._door.shut if self._state.refusals else self._door.open)()

    def statistics(self) -> LinkStatistics:
        """What happened on this link so far."""
        return LinkStatistics.of(
            self._counters,
            client=self.client,
            port=None if self._door is None else self._door.port,
            connections_open=len(self._connections),
            bytes_held=sum(connection.bytes_held for connection in self._connections.values()),
        )
