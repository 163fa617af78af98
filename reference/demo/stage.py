"""One run of a demo, put together: server, emulator, clients, faults, and whoever watches.

From the outside in, and ended the other way: the server's process outlives the emulator, which outlives the clients. The run has
four acts. The server starts. The clients work, and the faults come. Then the network is left in peace, and everyone has a bounded
time to come back, get rid of what waits, and reach the head over WebSocket. Then the record ends, the clients leave, the server
is asked to stop, and what its store holds is read from the file.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import trio

from reference.demo.actors import Actor
from reference.demo.parameters import SETTLE_S_MAX
from reference.demo.ports import free_ports
from reference.demo.recorder import Recorder
from reference.demo.schedule import Plan
from reference.demo.server_main import Listening
from reference.demo.server_process import SERVER_COMMAND, ServerFailed, ServerPlace, ServerProcess, open_server_process
from reference.demo.watching import Act, Row, Scene, Watcher, describe, enumerate_names
from reference.protocol.records import StoredRun
from reference.protocol.states import ClientState
from reference.store import open_store
from simulation.draws import Draws
from simulation.emulator import Emulator, open_emulator
from simulation.faults import Fault, ServerRestart
from simulation.trace import FaultHappened, FaultOver, Record, ServerKilled, ServerStarted, Trace

LOOK_INTERVAL_S = 0.2
REST_S = 0.5
"""How long everything must have been at rest."""
LEAVE_S_MAX = 3.0
SHOWN_S_MIN = 1.0
"""How long a fault is shown that is over in a moment."""
PREPARE_S = 3.0
"""How long before the server is killed its successor begins to load its code."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came out of a run. `settled_s`: how long everyone took to come to rest after the work; None: not within the limit."""

    plan: Plan
    trace: Trace
    round_trips_ms: tuple[float, ...]
    settled_s: float | None
    late: tuple[str, ...]
    """Who was not at rest when the limit had passed, in words."""


@dataclass(slots=True)
class _Stage:
    plan: Plan
    recorder: Recorder
    server: ServerProcess
    emulator: Emulator
    watcher: Watcher
    actors: list[Actor] = field(default_factory=list)
    act: Act = Act.WORK
    server_is_up: bool = True
    is_over: trio.Event = field(default_factory=trio.Event)


async def play(plan: Plan, watcher: Watcher, directory: Path, *, server_command: Sequence[str] = SERVER_COMMAND) -> Played:
    """Carry out a plan, with all files in `directory`. Raises ServerFailed, NoFreePort."""
    run_id = str(UUID(int=plan.seed % 2**128))
    port, *line_ports = free_ports(1 + len(plan.clients))
    place = ServerPlace(port, f"sqlite:///{directory / 'demo.sqlite3'}", run_id, directory / "server.log")
    recorders: list[Recorder] = []

    def on_record(record: Record) -> None:
        for recorder in recorders:
            recorder.add_from_server(record)

    async with open_server_process(place, command=server_command, on_record=on_record) as server:
        watcher.say(0.0, f"starting a server on port {port}, with its log in SQLite")
        listening = await server.start()
        async with open_emulator("127.0.0.1", port, seed=plan.seed) as emulator:
            recorders.append(recorder := Recorder(plan.seed, run_id))
            stage = _Stage(plan, recorder, server, emulator, watcher)
            _server_started(stage, listening)
            for client, line_port in zip(plan.clients, line_ports, strict=True):
                line = await emulator.add_line(client.name, client.path, port=line_port)
                stage.actors.append(Actor(client, f"http://127.0.0.1:{line.port}"))
            settled_s, late = await _perform(stage)
        await server.stop()
    recorder.stored(await _read_store(place))
    return Played(plan, recorder.trace, tuple(recorder.round_trips_ms), settled_s, late)


async def _perform(stage: _Stage) -> tuple[float | None, tuple[str, ...]]:
    """Work, and come to rest. Returns how long that took, None if the limit was passed, and who was late, in words."""
    recorder, settled_s = stage.recorder, None
    async with trio.open_nursery() as watching:
        watching.start_soon(_look, stage)
        async with trio.open_nursery() as playing:
            draws = Draws(stage.plan.seed)
            for actor in stage.actors:
                playing.start_soon(actor.perform, stage.server.place.run_id, recorder, draws, stage.is_over)
            async with trio.open_nursery() as faults:
                faults.start_soon(_kill_server, stage, stage.plan.kills)
                for fault in stage.plan.faults:
                    if not isinstance(fault, ServerRestart):
                        faults.start_soon(_let_happen, stage, fault)
                await trio.sleep(stage.plan.seconds)
            stage.act, begun_s = Act.SETTLE, recorder.now_s
            stage.watcher.say(begun_s, "the work is done and nothing disturbs the network any more: everyone has to come to rest")
            with trio.move_on_after(SETTLE_S_MAX):
                rested_since_s = await _rest(stage)
                settled_s = max(0.0, rested_since_s - begun_s)
            late = tuple(_unrest(stage))
            recorder.end()
            stage.act = Act.END
            stage.watcher.show(_scene(stage))
            stage.is_over.set()
            playing.cancel_scope.deadline = trio.current_time() + LEAVE_S_MAX
        watching.cancel_scope.cancel()
    return settled_s, late if settled_s is None else ()


async def _let_happen(stage: _Stage, fault: Fault) -> None:
    """One fault of the network, at its time, from its beginning to its end."""
    await _begin(stage, fault)
    await stage.emulator.apply(fault)
    _end(stage, fault)


async def _kill_server(stage: _Stage, kills: Sequence[ServerRestart]) -> None:
    """Kill the server, each time with its successor ready to start, and start it again."""
    for kill in kills:
        await trio.sleep(max(0.0, kill.at_s - PREPARE_S - stage.recorder.now_s))
        await stage.server.prepare()
        await _begin(stage, kill)
        stage.server_is_up = False
        await stage.server.kill()
        stage.recorder.add(lambda at: ServerKilled(at=at))
        await trio.sleep(kill.duration_s)
        listening = await stage.server.start()
        _server_started(stage, listening)
        stage.watcher.say(stage.recorder.now_s, f"the server is back, with {listening.head} events from its store")
        _end(stage, kill)


async def _begin(stage: _Stage, fault: Fault) -> None:
    await trio.sleep(max(0.0, fault.at_s - stage.recorder.now_s))
    stage.recorder.add(lambda at: FaultHappened(at=at, fault=fault))
    stage.watcher.say(stage.recorder.now_s, describe(fault))


def _end(stage: _Stage, fault: Fault) -> None:
    if fault.end_s > fault.at_s:
        stage.recorder.add(lambda at: FaultOver(at=at, fault=fault))


def _server_started(stage: _Stage, listening: Listening) -> None:
    stage.server_is_up = True
    stage.recorder.add(lambda at: ServerStarted(at=at, epoch=listening.epoch, head=listening.head))


# Rest.


async def _rest(stage: _Stage) -> float:
    """Return when everything has been at rest for a while, with the time since when."""
    since_s: float | None = None
    while since_s is None or stage.recorder.now_s - since_s < REST_S:
        if any(_unrest(stage)):
            since_s = None
        elif since_s is None:
            since_s = stage.recorder.now_s
        await trio.sleep(LOOK_INTERVAL_S / 4)
    return since_s


def _unrest(stage: _Stage) -> Iterator[str]:
    """What keeps each client from being at rest, in words."""
    head = stage.recorder.head
    for actor in stage.actors:
        name, client = actor.plan.name, actor.client
        if client is None:
            yield f"{name} has not joined"
        elif client.state is not ClientState.LIVE:
            yield f"{name} is {client.state.value}"
        elif client.queued_messages:
            yield f"{name} has {client.queued_messages} events without an answer"
        elif stage.recorder.positions[name] < head:
            yield f"{name} is at event {stage.recorder.positions[name]}, the head is {head}"


async def _read_store(place: ServerPlace) -> StoredRun:
    """What the server has left in its file."""
    async with open_store(place.store) as store:
        stored = await store.load_run(place.run_id)
    if stored is None:
        raise ServerFailed(f"the server's store {place.store} does not hold the run {place.run_id} any more")
    return stored


# For whoever watches.


async def _look(stage: _Stage) -> None:
    """Show the scene, several times a second; the last one is the one at rest, before the clients leave."""
    while stage.act is not Act.END:
        for sentence in _moves(stage.recorder.turns):
            stage.watcher.say(stage.recorder.now_s, sentence)
        stage.watcher.show(_scene(stage))
        await trio.sleep(LOOK_INTERVAL_S)


def _scene(stage: _Stage) -> Scene:
    recorder, now_s = stage.recorder, stage.recorder.now_s
    return Scene(
        act=stage.act,
        at_s=now_s,
        seconds=stage.plan.seconds,
        server_is_up=stage.server_is_up,
        faults=tuple(fault for fault in stage.plan.faults if fault.at_s <= now_s <= max(fault.end_s, fault.at_s + SHOWN_S_MIN)),
        published=recorder.counts["published"],
        accepted=recorder.counts["accepted"],
        delivered=recorder.counts["delivered"],
        head=recorder.head,
        rows=tuple(_row(actor, recorder) for actor in stage.actors),
    )


def _row(actor: Actor, recorder: Recorder) -> Row:
    client, name = actor.client, actor.plan.name
    if client is None:
        return Row(name, actor.plan.path, None, None, 0, 0, None, 0)
    health = client.health
    return Row(
        name=name,
        path=actor.plan.path,
        state=client.state,
        transport=health.transport,
        position=recorder.positions[name],
        queued=health.queued_messages,
        round_trip_ms=health.round_trip.p50_ms,
        reconnections=health.reconnections,
    )


def _moves(turns: deque[tuple[str, ClientState, ClientState]]) -> Iterator[str]:
    """The changes of transport since the last look, in words."""
    fallen, returned = [], []
    while turns:
        name, before, after = turns.popleft()
        if after is ClientState.POLLING and not before.is_polling:
            fallen.append(name)
        elif after is ClientState.LIVE and before.is_polling:
            returned.append(name)
    if fallen:
        yield f"{enumerate_names(fallen)}: fallen back to HTTP polling"
    if returned:
        yield f"{enumerate_names(returned)}: back on WebSocket"
