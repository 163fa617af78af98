"""The emulator: all access links to one server, and the schedule of their faults.

A schedule is run by one task over one sorted list of beginnings and ends, so that events at one instant happen in the order of
the list, whatever the scheduler does. At the same instant faults are in the order of the given sequence, and a fault begins
before it ends.

The emulator has one nursery, for the ports and all connections. Leaving the context closes the ports and drops every connection.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence

import trio

from reference.protocol.errors import ConfigError
from simulation.emulator.access_link import BUFFER_BYTES_MAX, EmulatedAccessLink, FaultVerbs
from simulation.emulator.errors import EmulatorError, check_link_fault
from simulation.emulator.sockets import LOOPBACK, Connect, tcp_connector
from simulation.emulator.statistics import EmulatorStatistics, FaultJournal
from simulation.random import RandomStreams
from simulation.scenario.faults import Fault, LinkFault, ServerFault
from simulation.scenario.paths import Path


class Emulator(FaultVerbs):
    """All access links to one server; created by `open_emulator`. Its verbs affect every link that exists then."""

    def __init__(self, connect: Connect, nursery: trio.Nursery, *, seed: int, buffer_bytes_max: int) -> None:
        self._connect = connect
        self._nursery = nursery
        self._random_source = RandomStreams(seed)
        self._buffer_bytes_max = buffer_bytes_max
        self._links: dict[str, EmulatedAccessLink] = {}
        self._journal = FaultJournal()
        self._is_closed = False

    @property
    def links(self) -> tuple[EmulatedAccessLink, ...]:
        """All links, in the order in which they were added."""
        return tuple(self._links.values())

    def link(self, client: str) -> EmulatedAccessLink:
        """The link of `client`. EmulatorError if it has none."""
        try:
            return self._links[client]
        except KeyError:
            raise EmulatorError(f"no link for client {client!r}; there are: {sorted(self._links)}") from None

    async def add_link(self, client: str, path: Path, *, port: int = 0, host: str = LOOPBACK) -> EmulatedAccessLink:
        """An access link for `client`, listening on `host` (an IP address, loopback by default) at `port`; 0 is any free port.

        ConfigError for an invalid path; EmulatorError if the client has a link already, the port is in use or the emulator is
        closed. Faults that have begun do not affect a link that is added later.
        """
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise EmulatorError("the emulator is closed")
        if client in self._links:
            raise EmulatorError(f"client {client!r} has a link already")
        link = EmulatedAccessLink(
            client,
            path,
            self._connect,
            self._random_source,
            buffer_bytes_max=self._buffer_bytes_max,
            journal=self._journal,
        )
        link.listen(self._nursery, port, host=host)
        self._links[client] = link
        return link

    async def apply(self, fault: Fault) -> None:
        await self._run([fault], starts_at=trio.current_time() - fault.at_s)

    def check(self, fault: Fault) -> None:
        """ConfigError for a fault that is not the emulator's or has invalid times; EmulatorError for a client without a link."""
        check_link_fault(fault)
        self._links_hit_by(fault)

    async def run_schedule(self, faults: Sequence[Fault]) -> None:
        """Let each fault happen at its `at_s`, in seconds from now, on the links of the clients it names.

        Returns when all are over; when cancelled, the faults that have begun are ended. Faults of the server are left out: the
        owner of the server carries them out. ConfigError for invalid times and EmulatorError for clients without a link, both
        before any fault begins.
        """
        await self._run([f for f in faults if not isinstance(f, ServerFault)], starts_at=trio.current_time())

    async def run_availability(self, processes: Iterable[Iterable[LinkFault]]) -> None:
        """Run the uptimes and downtimes of links from now on; returns when all processes have stopped.

        `processes`: for each the downtimes, in order and without overlap, as `simulation.network.availability.comings_and_goings`
        samples them from a scenario: with the same random numbers as the simulator, the same downtimes. EmulatorError for clients
        without a link.
        """
        starts_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for faults in processes:
                nursery.start_soon(self._come_and_go, faults, starts_at)

    async def _come_and_go(self, faults: Iterable[LinkFault], starts_at: float) -> None:
        for fault in faults:
            await self._run([fault], starts_at=starts_at)

    def statistics(self) -> EmulatorStatistics:
        """What happened so far."""
        return EmulatorStatistics(links=tuple(link.statistics() for link in self._links.values()), faults=self._journal.entries)

    def close(self) -> None:
        """Release all ports; `open_emulator` does it on leaving."""
        self._is_closed = True
        for link in self._links.values():
            link.close()

    async def _run(self, faults: Sequence[Fault], *, starts_at: float) -> None:
        for fault in faults:
            self.check(fault)
        timeline: list[tuple[float, int, bool]] = []
        for place, fault in enumerate(faults):
            timeline += [(fault.at_s, place, False), (fault.end_s, place, True)]
        begun: dict[int, list[EmulatedAccessLink]] = {}
        try:
            for at_s, place, is_end in sorted(timeline):
                await trio.sleep_until(starts_at + at_s)
                if is_end:
                    _end(faults[place], begun.pop(place))
                    continue
                begun[place] = []
                for link in self._links_hit_by(faults[place]):
                    link.begin(faults[place])
                    begun[place].append(link)
        finally:
            for place, links in begun.items():
                _end(faults[place], links)

    def _links_hit_by(self, fault: Fault) -> tuple[EmulatedAccessLink, ...]:
        if not fault.clients:
            return self.links
        return tuple(self.link(client) for client in dict.fromkeys(fault.clients))


def _end(fault: Fault, links: Iterable[EmulatedAccessLink]) -> None:
    for link in links:
        link.end(fault)


@contextlib.asynccontextmanager
async def open_emulator(
    upstream_host: str,
    upstream_port: int,
    *,
    seed: int,
    buffer_bytes_max: int = BUFFER_BYTES_MAX,
    connect: Connect | None = None,
) -> AsyncGenerator[Emulator, None]:
    """An emulator in front of the server at `upstream_host`, `upstream_port`; the server may stop and start.

    seed: of all jitter. buffer_bytes_max: the buffer of one direction of one connection, in bytes. connect: another way to reach
    the server, for servers that are not on a socket. ConfigError for invalid numbers.

    An exception of the body is raised unchanged, not in an ExceptionGroup.
    """
    if not 1 <= upstream_port <= 65535:
        raise ConfigError(f"upstream_port must be from 1 to 65535, not {upstream_port!r}")
    if buffer_bytes_max < 1:
        raise ConfigError(f"buffer_bytes_max must be at least 1, not {buffer_bytes_max!r}")
    connect = tcp_connector(upstream_host, upstream_port) if connect is None else connect
    error_of_body: Exception | None = None
    async with trio.open_nursery() as nursery:
        emulator = Emulator(connect, nursery, seed=seed, buffer_bytes_max=buffer_bytes_max)
        try:
            yield emulator
        except Exception as error:
            error_of_body = error
        finally:
            emulator.close()
            nursery.cancel_scope.cancel()
    if error_of_body is not None:
        raise error_of_body
