"""The scenario on trio: the shipped server and the shipped clients, over memory streams, in virtual time.

    client shell -- memory stream -- emulator's link -- memory stream -- server shell -- disk

Real handshakes of trio-websocket, real requests of httpcore, the emulator's real pipes; only sockets and the wall clock are
missing. Under trio's MockClock time stands still while anything is left to do.

A server restart kills the process as a power failure does: the operating system resets its connections (here: the ends that the
emulator holds are aborted), nothing that it would have liked to say is heard, a commit under way arrives or not as the disk's
draw has it, and until the next process is there a SYN is answered by a reset. A refusal is a kernel's answer to a SYN as well,
and memory streams have no kernel; so that fault is answered here, at the moment when a SYN would arrive, and not by the link.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

import structlog.testing
import trio
import trio.testing

from reference.client import Client, LostConnection, QueuedPublish, ReceivedFrame, connect
from reference.protocol.actions import ClientAction, Close, Open, RefreshToken, Send
from reference.protocol.client.outcomes import Outcome
from reference.protocol.errors import InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import CURSOR_MOVE
from reference.protocol.server.observations import Observation
from reference.protocol.states import ClientState
from reference.protocol.statistics import Held
from reference.protocol.timers import NS_PER_S, ns
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream, memory_pair
from reference.store.kept import parsed
from simulation.emulator import EmulatedAccessLink
from simulation.hosts.server_host import ORIGIN
from simulation.random import RandomStreams
from simulation.scenario.faults import Fault, Refuse, ServerRestart
from simulation.scenario.scenario import Scenario
from simulation.trace.trace import (
    ClientStarted,
    CursorMoved,
    FaultHappened,
    FaultOver,
    Published,
    PublishRefused,
    QueueSampled,
    ServerKilled,
    ServerStarted,
)
from simulation.trace.writer import record_actions, record_frame, record_loss, record_observations, record_outcomes, record_stored

from .disk import Disk
from .inputs import Part, parts_of
from .schedules import scheduled
from .transcript import FrameSeen, Tape, Transcript

WORLD = "trio"


class WorldFailed(Exception):
    """The server logged a fault of its own."""


def play(scenario: Scenario, run_id: str, epoch: str, *, schedule: int = 0) -> Transcript:
    """Run `scenario` to its end, ties settled by `schedule`. Raises WorldFailed."""
    with structlog.testing.capture_logs() as logs, scheduled(schedule):
        clock = trio.testing.MockClock(autojump_threshold=0)
        world = _World(scenario, run_id, epoch, logs)
        return trio.run(world.play, clock=clock)


class _World:
    def __init__(self, scenario: Scenario, run_id: str, epoch: str, logs: list) -> None:
        self._scenario = scenario
        self._logs = logs
        self._run_id = run_id
        self._epoch = epoch
        self._random_source = RandomStreams(scenario.seed)
        self._trace = Tape()
        self._refusals: dict[str, int] = defaultdict(int)
        self._restarts_under_way = 0
        self._server: Server | None = None
        self._server_life = trio.CancelScope()
        self._server_ended = trio.Event()
        self._streams: list[MemoryPushStream] = []
        self._clients: dict[str, Client] = {}
        self._sessions = 0
        self._last_sampled: dict[tuple[str, str], tuple[int, int]] = {}

    async def play(self) -> Transcript:
        scenario = self._scenario
        parts = parts_of(scenario)
        self._disk = Disk(scenario.server.commit_time_s, self._random_source.of("store"), self._look_at_server)
        await self._disk.create_run(self._run_id, self._epoch)
        self._links = {
            part.name: EmulatedAccessLink(part.name, part.path, partial(self._connect, part.name), self._random_source)
            for part in parts
        }
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._start_server()
            nursery.start_soon(self._let_faults_happen)
            for part in parts:
                nursery.start_soon(self._be_client, part)
            await trio.sleep_until(ns(scenario.end_s) / NS_PER_S)
            self._check_logs()
            self._trace.is_over = True
            stored = await self._disk.load_run(self._run_id)
            entries = tuple(self._disk.entries)
            nursery.cancel_scope.cancel()
        self._logs.clear()  # nor has one that is cut off in the middle of a commit
        assert stored is not None
        self._trace.is_over = False
        record_stored(self._trace, parsed(stored), ns(scenario.end_s), entries)
        return Transcript(WORLD, self._trace.entries)

    def _now(self) -> int:
        return round(trio.current_time() * NS_PER_S)

    def _check_logs(self) -> None:
        if self._logs:
            raise WorldFailed(f"the server logged {self._logs}")

    # Samples: of a client whenever something goes through it, of the server when a commit begins and when it ends.

    def _look_at_server(self) -> None:
        if self._server is not None:
            self._sample("server", self._server.held(self._run_id))

    def _sample(self, place: str, holds: Iterable[Held]) -> None:
        """What is another than at the last look is recorded."""
        for held in holds:
            key, now = (place, held.what), (held.length, held.limit)
            if self._last_sampled.get(key) != now:
                self._last_sampled[key] = now
                length, limit = now
                self._trace.add(QueueSampled(at=self._now(), place=place, queue=held.what, length=length, limit=limit))

    # The server.

    async def _start_server(self) -> None:
        self._server_ended = trio.Event()
        stored = await self._disk.load_run(self._run_id)
        assert stored is not None
        self._server = await self._nursery.start(self._be_server)
        self._trace.add(ServerStarted(at=self._now(), epoch=stored.epoch, head=stored.head))

    async def _be_server(self, task_status: "trio.TaskStatus[Server]") -> None:
        def observe(observation: Observation) -> None:
            if self._server is server:
                record_observations(self._trace, [observation], self._now())

        with trio.CancelScope() as self._server_life:
            async with open_server(
                ServerSettings(protocol=self._scenario.server.config),
                store=self._disk,
                origin_ns=ORIGIN + self._now(),
                new_id=self._new_id,
                listening=False,
                observe=observe,
            ) as server:
                task_status.started(server)
                await trio.sleep_forever()
        self._server_ended.set()

    def _new_id(self) -> str:
        self._sessions += 1
        return f"session-{self._sessions}"

    async def _kill_server(self) -> None:
        assert self._server is not None
        self._check_logs()
        self._trace.add(ServerKilled(at=self._now()))
        self._server = None
        for stream in self._streams:
            stream.abort()
        self._streams.clear()
        self._disk.crash()
        self._server_life.cancel()
        await self._server_ended.wait()
        self._logs.clear()  # a process that is killed has no last words

    # The network.

    async def _open_stream(self, client: str, host: str, port: int, tls: bool) -> MemoryPushStream:
        near, far = memory_pair()
        self._nursery.start_soon(self._links[client].serve, far)
        return near

    async def _connect(self, client: str) -> MemoryPushStream:
        """The SYN of `client` has arrived."""
        if self._server is None or self._refusals[client]:
            raise ConnectionRefusedError
        stream = self._server.connect()
        self._streams.append(stream)
        return stream

    async def _let_faults_happen(self) -> None:
        """One after the other; those of one instant in the order in which the simulator has them in its queue."""
        queue = [(ns(fault.at_s), number, fault, False) for number, fault in enumerate(self._scenario.resolved_faults)]
        numbers = itertools.count(len(queue))
        while queue:
            at, _, fault, is_over = heapq.heappop(queue)
            await trio.sleep_until(at / NS_PER_S)
            if is_over:
                await self._end(fault)
                self._trace.add(FaultOver(at=self._now(), fault=fault))
                continue
            self._trace.add(FaultHappened(at=self._now(), fault=fault))
            await self._begin(fault)
            if hasattr(fault, "duration_s"):
                heapq.heappush(queue, (ns(fault.end_s), next(numbers), fault, True))

    async def _begin(self, fault: Fault) -> None:
        if isinstance(fault, ServerRestart):
            self._restarts_under_way += 1
            if self._restarts_under_way == 1:
                await self._kill_server()
            return
        for client, link in self._links.items():
            if fault.hits(client):
                if isinstance(fault, Refuse):
                    self._refusals[client] += 1
                else:
                    link.begin(fault)

    async def _end(self, fault: Fault) -> None:
        if isinstance(fault, ServerRestart):
            self._restarts_under_way -= 1
            if self._restarts_under_way == 0:
                await self._start_server()
            return
        for client, link in self._links.items():
            if fault.hits(client):
                if isinstance(fault, Refuse):
                    self._refusals[client] -= 1
                else:
                    link.end(fault)

    # A client.

    async def _be_client(self, part: Part) -> None:
        await trio.sleep_until(part.arrives_at / NS_PER_S)
        name = part.name
        self._trace.add(ClientStarted(at=self._now(), client=name, client_id=name, user_id=name))
        async with connect(
            "http://server",
            self._run_id,
            token=f"dev:{name}",
            client_id=name,
            config=self._scenario.client.config,
            policy=self._scenario.client.policy,
            random_source=self._random_source.of(name),
            open_stream=partial(self._open_stream, name),
            tap=partial(self._hear, name),
        ) as client:
            self._clients[name] = client
            self._nursery.start_soon(_read_all, client)
            await self._work(client, part)
            await trio.sleep_forever()

    async def _work(self, client: Client, part: Part) -> None:
        for action in part.steps_taken:
            await trio.sleep_until(action.at / NS_PER_S)
            if action.event_type == CURSOR_MOVE:
                if client.state is not ClientState.CLOSED:
                    self._trace.add(CursorMoved(at=self._now(), client=part.name, data=action.data))
                    client.move_cursor(action.data)
                continue
            try:
                client.publish_soon(action.event_type, action.data)
            except (InvalidEvent, OutboxFull, SessionClosed) as error:
                refused = PublishRefused(
                    at=self._now(), client=part.name, event_type=action.event_type, error=type(error).__name__
                )
                self._trace.add(refused)

    def _hear(self, client: str, now: int, what: ReceivedFrame | LostConnection | QueuedPublish | ClientAction | Outcome) -> None:
        if client in self._clients:
            self._sample(client, self._clients[client].held)
        match what:
            case ReceivedFrame(connection_id=connection_id, frame=frame):
                self._trace.add(FrameSeen(now, client, "received", connection_id, frame))
                record_frame(self._trace, client, connection_id, frame, now)
            case QueuedPublish(ticket=ticket, event_type=event_type, data=data):
                self._trace.add(Published(at=now, client=client, ticket=ticket, event_type=event_type, data=data))
            case LostConnection():
                record_loss(
                    self._trace,
                    client,
                    what.connection_id,
                    now,
                    code=what.code,
                    message=what.message,
                    retry_after_ms=what.retry_after_ms,
                )
            case Send(connection_ids=connection_ids, frame=frame):
                record_actions(self._trace, client, [what], now)
                for connection_id in connection_ids:
                    self._trace.add(FrameSeen(now, client, "sent", connection_id, frame))
            case Open() | Close() | RefreshToken():
                record_actions(self._trace, client, [what], now)
            case _:
                epoch = self._clients[client].position[0] if client in self._clients else None
                record_outcomes(self._trace, client, [what], now, epoch=epoch)


async def _read_all(client: Client) -> None:
    async for _ in client:
        pass
