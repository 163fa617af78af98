"""The objects of the pytest plugin's fixtures: a server, bad networks, virtual time.

Server and networks run in a background thread (`reference.client.without_trio.portal`), so they work with plain tests, tests
under pytest-trio and tests of asyncio programs. Their methods block for at most a few milliseconds.
"""

import contextlib
import itertools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import trio
import trio.testing

from reference.client import BlockingClient, Client, TrioPortal, connect, connect_blocking, create_run
from reference.protocol.errors import ConfigError
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import memory_pair
from reference.store import MemoryStore
from simulation.emulator import EmulatedAccessLink, LinkStatistics, open_emulator
from simulation.processes.path_changes import changed_path
from simulation.random import RandomStreams
from simulation.scenario.faults import (
    BlockUpgrade,
    Direction,
    LinkFault,
    Outage,
    Path,
    Refuse,
    Stall,
)

FAULT_S_MAX = 1_000_000.0
VIRTUAL_S_MAX = 86_400.0
"""A program that takes longer, in virtual time, is assumed to hang."""
ORIGIN_NS = 1_700_000_000 * 10**9
"""The time of a server in virtual time when it starts, in ns since 1970."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class HasPort(Protocol):
    """A server that has a loopback port."""

    @property
    def port(self) -> int: ...


class TestServer:
    """A running development server. `url`, `port`: where it listens. Made by the fixture `steadywire_server`."""

    __test__ = False  # pytest takes classes that begin with Test for tests

    def __init__(self, server: Server, portal: TrioPortal) -> None:
        self._portal = portal
        self.url = server.url
        self.port: int = urlsplit(server.url).port or 0

    def create_run(self, run_id: str | None = None) -> str:
        """Create a run (None: with a new id); returns its id."""
        return self._portal.call(create_run, self.url, run_id or str(uuid.uuid4()), self.token())

    @staticmethod
    def token(user: str = "ada", *, is_admin: bool = False) -> str:
        """A token for `user`; the server accepts every name."""
        return f"{'dev-admin' if is_admin else 'dev'}:{user}"

    def connect(self, run_id: str, user: str = "ada", *, url: str | None = None, **options: Any) -> BlockingClient:
        """A client with blocking calls, until the end of the test. `url`: another URL of the server, such as that of a bad
        network. `options`: those of `reference.client.connect`."""
        return connect_blocking(url or self.url, run_id, portal=self._portal, token=self.token(user), **options)


@contextlib.contextmanager
def open_test_server() -> Iterator[TestServer]:
    """The fixture `steadywire_server`."""
    with TrioPortal() as portal:
        server = portal.enter(open_server(ServerSettings(port=0, store="memory:", stop_timeout_s=1.0)))
        yield TestServer(server, portal)


class BadNetwork:
    """A proxy in front of one server. `host`, `port`, `url`: where clients find it. Made by the fixture `bad_network`."""

    host = "127.0.0.1"

    def __init__(self, link: EmulatedAccessLink, portal: TrioPortal) -> None:
        self._link = link
        self._portal = portal
        self.port = link.port
        self.url = f"http://{self.host}:{self.port}"

    @property
    def path(self) -> Path:
        return self._link.path

    def change(self, path: Path | None = None, **fields: Any) -> None:
        """Change the path, also for existing connections: another one, or fields of it (`latency_s=0.2, loss=0.01`).

        Raises ConfigError; then nothing has changed.
        """
        self._portal.call(self._link.change_path, changed_path(path or self.path, fields))

    def reset(self) -> None:
        """Cut every connection with a reset."""
        self._portal.call(self._link.reset)

    def half_open(self, direction: Direction = "both") -> None:
        """Make every existing connection silent for ever; neither end is notified."""
        self._portal.call(self._link.half_open, direction)

    def outage(self, direction: Direction = "both") -> AbstractContextManager[None]:
        """`with network.outage():` no data pass; afterwards lost data are sent again."""
        return self._lasting(Outage(at_s=0, duration_s=FAULT_S_MAX, direction=direction))

    def stall(self) -> AbstractContextManager[None]:
        """`with network.stall():` no data come from the server, then everything at once."""
        return self._lasting(Stall(at_s=0, duration_s=FAULT_S_MAX))

    def refuse(self) -> AbstractContextManager[None]:
        """`with network.refuse():` new connections are refused."""
        return self._lasting(Refuse(at_s=0, duration_s=FAULT_S_MAX))

    def block_upgrade(self, how: Literal["block", "strip", "hang"] = "block") -> AbstractContextManager[None]:
        """`with network.block_upgrade():` WebSockets are cut, and new ones are refused."""
        return self._lasting(BlockUpgrade(at_s=0, duration_s=FAULT_S_MAX, how=how))

    def statistics(self) -> LinkStatistics:
        """Connections and bytes so far."""
        return self._portal.call(self._link.statistics)

    @contextlib.contextmanager
    def _lasting(self, fault: LinkFault) -> Iterator[None]:
        self._portal.call(self._link.begin, fault)
        try:
            yield
        finally:
            self._portal.call(self._link.end, fault)


class BadNetworks:
    """Call it to get a `BadNetwork` that lasts until the end of the test."""

    def __init__(self, portal: TrioPortal) -> None:
        self._portal = portal
        self._numbers = itertools.count(1)

    def __call__(self, to: int | str | HasPort, path: Path | None = None, *, seed: int = 1, **fields: Any) -> BadNetwork:
        """A network to the server at `to`: a port of this machine, "HOST:PORT", a URL, or an object with a `port`.

        `path`, and fields of it (`latency_s=0.1, jitter_s=0.02, loss=0.01, bandwidth_bytes_per_s=50_000`): the network without
        faults (default: no delay). Raises ConfigError.
        """
        host, port = address_of(to)
        emulator = self._portal.enter(open_emulator(host, port, seed=seed))
        path = changed_path(path or Path(latency_s=0.0), fields)
        return BadNetwork(self._portal.call(emulator.add_link, f"network-{next(self._numbers)}", path), self._portal)


@contextlib.contextmanager
def open_bad_networks() -> Iterator[BadNetworks]:
    """The fixture `bad_network`."""
    with TrioPortal() as portal:
        yield BadNetworks(portal)


def address_of(to: int | str | HasPort) -> tuple[str, int]:
    """Host and port of the server that a test names. Raises ConfigError."""
    if isinstance(to, int):
        return "127.0.0.1", to
    if not isinstance(to, str):
        return "127.0.0.1", to.port
    try:
        parts = urlsplit(to if "://" in to else f"//{to}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or (port is None and parts.scheme not in ("http", "ws")):
        raise ConfigError(f"bad_network({to!r}): name a port, 'HOST:PORT', a URL with a port, or an object with a port")
    return host, port or 80


class VirtualTime:
    """Runs trio programs in which waiting takes no time: the clock jumps to the next deadline when every task waits.

    elapsed_s: how long the last program took, in virtual seconds. Real sockets and threads do not follow this clock; a program
    uses streams in memory, as from `open_world`.
    """

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def run(self, program: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments, limit_s: float = VIRTUAL_S_MAX) -> T:
        """Run a trio program and return its result. Raises what it raises, and trio.TooSlowError after `limit_s` virtual seconds.
        For plain tests; under pytest-trio ask for its fixture `autojump_clock` instead."""

        async def timed() -> T:
            began_at = trio.current_time()
            try:
                with trio.fail_after(limit_s):
                    return await program(*arguments)
            finally:
                self.elapsed_s = trio.current_time() - began_at

        return trio.run(timed, clock=trio.testing.MockClock(autojump_threshold=0))

    def open_world(self, *, seed: int = 1, settings: ServerSettings | None = None) -> AbstractAsyncContextManager["VirtualWorld"]:
        """`async with virtual_time.open_world() as world:` a real server and real clients on networks in memory, reproducible
        from the seed."""
        return open_world(seed=seed, settings=settings)


class VirtualWorld:
    """A server without sockets. `run_id`: an existing run."""

    def __init__(self, server: Server, run_id: str, nursery: trio.Nursery, seed: int) -> None:
        self.server = server
        self.run_id = run_id
        self._nursery = nursery
        self._random = RandomStreams(seed)
        self._links: dict[str, EmulatedAccessLink] = {}

    def link(self, user: str, path: Path | None = None) -> EmulatedAccessLink:
        """The network between `user` and the server, with its faults as methods; created with `path` at the first call."""
        if user not in self._links:
            self._links[user] = EmulatedAccessLink(user, path or Path(), self._to_server, self._random)
        return self._links[user]

    @contextlib.asynccontextmanager
    async def connect(self, user: str, path: Path | None = None, **options: Any) -> AsyncIterator[Client]:
        """A client of `user` over its access link. `options`: those of `reference.client.connect`."""
        link = self.link(user, path)

        async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, theirs = memory_pair(None)
            self._nursery.start_soon(link.serve, theirs)
            return ours

        random_source = self._random.of(f"client/{user}")
        chosen = {
            "random_source": random_source,
            "client_id": user,
            "token": f"dev:{user}",
            "open_stream": open_stream,
            **options,
        }
        async with connect("http://localhost", self.run_id, **chosen) as client:
            yield client

    async def _to_server(self) -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        return self.server.connect()


@contextlib.asynccontextmanager
async def open_world(*, seed: int = 1, settings: ServerSettings | None = None) -> AsyncGenerator[VirtualWorld, None]:
    """See `VirtualTime.open_world`."""
    ids = (uuid.UUID(int=number).hex for number in itertools.count(seed * 10**6 + 1))
    opening = open_server(
        settings or ServerSettings(store="memory:"),
        store=MemoryStore(),
        origin_ns=ORIGIN_NS,
        new_id=lambda: next(ids),
        listening=False,
    )
    run_id = str(uuid.UUID(int=seed))
    error_of_body: Exception | None = None
    async with opening as server:
        await server.create_run(run_id)
        async with trio.open_nursery() as nursery:
            try:
                yield VirtualWorld(server, run_id, nursery, seed)
            except Exception as error:
                error_of_body = error  # raised unchanged below: our nursery would put it into a group
            nursery.cancel_scope.cancel()
        if error_of_body is not None:
            raise error_of_body
