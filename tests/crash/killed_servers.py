"""Server processes that are killed again and again while clients work, and a record of it all.

Processes, clients and record are those of a run of real processes; there is no emulator, because here the servers
fail. Each life of a server ends at a random moment; with several of them, one after the other is killed, and its
clients find another. Then all clients have a bounded time to settle, and the content of the store is read.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import msgspec
import trio

from reference.client import Client, connect
from reference.protocol.events import Event
from reference.store import open_store
from reference.store.kept import parsed
from simulation.processes.demo.parameters import PARAMETERS
from simulation.processes.participant import Participant
from simulation.processes.real_run import settle, unsettled
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import ClientPlan
from simulation.processes.server_process import ServerPlace, ServerProcess, open_server_process
from simulation.random import RandomStreams
from simulation.scenario.faults import ServerRestart
from simulation.scenario.paths import Path as NetworkPath
from simulation.trace.publishes import publish_data
from simulation.trace.trace import FaultHappened, FaultOver, ServerKilled, Trace

CLIENTS = 6
PUBLISH_INTERVAL_S = 0.04
"""Between two publishes of one client, on average."""
WAITING_MAX = 40
"""Publishes of one client that may be without an answer before it makes no more."""
LIFE_S = 0.15, 0.9
"""From a server's first connection to its end, drawn evenly from this."""
SETTLE_S_MAX = 60.0
ANSWER_S_MAX = 60.0
"""Until a publish is accepted after a kill. Both are for a machine with much else to do."""

parameters = msgspec.structs.replace(
    PARAMETERS,
    server=msgspec.structs.replace(
        PARAMETERS.server, events_kept_max=100_000, snapshot_interval_events=250, first_spread_s=0.1, appends_pending_max=4096
    ),
    client=msgspec.structs.replace(PARAMETERS.client, first_spread_s=0.1),
)


@dataclass(slots=True)
class Played:
    """What came out."""

    trace: Trace
    kills: int
    accepted: int
    late: tuple[str, ...]
    """The clients that had not settled at the end, a sentence for each."""
    stored: tuple[Event, ...] = ()
    """What the store holds in the end."""
    gaps_s: list[float] = field(default_factory=list)
    """For each kill: how long it took until as many publishes were accepted as had been made before it, and one more. The answers
    alone would not show it: some that the dead server gave are still on their way."""


async def crash(store: str, directory: Path, *, ports: list[int], kills: int, seed: int) -> Played:
    """Kill servers on `store`, one on each port, so many times under load."""
    run_id, processes = str(UUID(int=seed)), len(ports)
    recorder = Recorder(seed, run_id, parameters)
    random_source = RandomStreams(seed)
    played = Played(recorder.trace, kills, 0, ())
    async with servers(ports, store, run_id, directory, recorder) as lives:
        listening = [await server.start() for server in lives]
        recorder.begin()
        recorder.server_started(listening[0])
        participants = [
            Participant(plan, parameters, f"http://127.0.0.1:{ports[n % processes]}") for n, plan in enumerate(plans())
        ]
        is_over, is_worked = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            for participant in participants:
                nursery.start_soon(perform, participant, ports, run_id, recorder, random_source, is_worked, is_over)
            await kill_again_and_again(lives, played, recorder, random_source)
            is_worked.set()
            late = Participant(
                ClientPlan("latecomer", NetworkPath(), recorder.now_s, ()), parameters, f"http://127.0.0.1:{ports[0]}"
            )
            participants.append(late)
            nursery.start_soon(perform, late, ports, run_id, recorder, random_source, is_worked, is_over)
            with trio.move_on_after(SETTLE_S_MAX):
                await settle(participants, recorder)
            played.late = tuple(unsettled(participants, recorder))
            recorder.end()
            is_over.set()
        for server in lives:
            await server.stop()
    async with open_store(store) as opened:
        stored = await opened.load_run(run_id)
    assert stored is not None
    stored = parsed(stored)
    recorder.stored(stored)
    played.stored = stored.events
    played.accepted = recorder.counts["accepted"]
    return played


@asynccontextmanager
async def servers(
    ports: list[int], store: str, run_id: str, directory: Path, recorder: Recorder
) -> AsyncIterator[list[ServerProcess]]:
    """One process for each port, not started yet."""
    if not ports:
        yield []
        return
    place = ServerPlace(ports[0], store, run_id, directory / f"server-{ports[0]}.log", parameters.server)
    async with (
        open_server_process(place, on_record=recorder.add_from_server) as first,
        servers(ports[1:], store, run_id, directory, recorder) as others,
    ):
        yield [first, *others]


def plans() -> list[ClientPlan]:
    return [ClientPlan(f"client-{number}", NetworkPath(), 0.0, ()) for number in range(CLIENTS)]


async def kill_again_and_again(
    lives: list[ServerProcess], played: Played, recorder: Recorder, random_source: RandomStreams
) -> None:
    """Kill one after the other. The next life of each is prepared while it still serves: to load its code takes the longest."""
    for kill in range(played.kills):
        server = lives[kill % len(lives)]
        for each in lives:
            await each.prepare()
        await trio.sleep(between(*LIFE_S, random_source.of("the killer").uniform("life", kill)))
        published, killed_s = recorder.counts["published"], recorder.now_s
        fault = ServerRestart(at_s=killed_s, duration_s=0.0)
        recorder.add(lambda at, fault=fault: FaultHappened(at=at, fault=fault))
        await server.kill()
        recorder.add(lambda at: ServerKilled(at=at))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back, server, fault, recorder)
            with trio.fail_after(ANSWER_S_MAX):
                while recorder.counts["accepted"] <= published:  # noqa: ASYNC110 - a record reports to nobody that it grows
                    await trio.sleep(0.005)
            played.gaps_s.append(recorder.now_s - killed_s)


async def come_back(server: ServerProcess, fault: ServerRestart, recorder: Recorder) -> None:
    """The next life of that server."""
    recorder.server_started(await server.start())
    recorder.add(lambda at: FaultOver(at=at, fault=fault))


async def perform(
    participant: Participant,
    ports: list[int],
    run_id: str,
    recorder: Recorder,
    random_source: RandomStreams,
    is_worked: trio.Event,
    is_over: trio.Event,
) -> None:
    """One client: publishes until the work is done, reads until all is over."""
    name = participant.plan.name
    recorder.started(name)
    async with connect(
        participant.url,
        run_id,
        token=f"dev:{name}",
        client_id=name,
        config=parameters.client,
        policy=parameters.policy,
        random_source=random_source.of(f"{name}/session"),
        open_stream=partial(open_any, ports),
        tap=recorder.tap_of(name),
    ) as client:
        participant.client = client
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, name, recorder, client)
            number = 0
            while not is_worked.is_set():
                number += 1
                await trio.sleep(2 * PUBLISH_INTERVAL_S * random_source.of(name).uniform("pause", number))
                if client.queued_messages < WAITING_MAX:
                    kind = "CHAT" if number % 3 else "GRAFT"
                    data = publish_data(f"{name}-{number}", position=f"p{number % 50}")
                    recorder.publish(name, client, kind, data)
            await is_over.wait()
            nursery.cancel_scope.cancel()


def between(lowest: float, highest: float, part: float) -> float:
    return lowest + part * (highest - lowest)


async def read(name: str, recorder: Recorder, client: Client) -> None:
    async for delivery in client:
        recorder.delivered(name, client, delivery)


async def open_any(ports: list[int], host: str, port: int, tls: bool) -> trio.SocketStream:
    """As a load balancer that knows which of the processes answer: the wanted one, or else the next."""
    at = ports.index(port)
    failure: OSError | None = None
    for candidate in (*ports[at:], *ports[:at]):
        try:
            return await trio.open_tcp_stream(host, candidate)
        except OSError as error:
            failure = error
    assert failure is not None
    raise failure
