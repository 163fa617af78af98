"""One complete run of real processes: server, emulator, clients, faults, and observers.

The server's process outlives the emulator, which outlives the clients. The run has four phases. The server starts. The clients
work, and the faults occur. Then the faults stop, and every client has a limited time to reconnect, get answers to its publishes,
and reach the head over WebSocket. Then the recording ends, the clients leave, the server is asked to stop, and the contents of
its store are read from the file. A plan that fixes how long clients stay is not judged by the time of settling.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import trio

from reference.protocol.records import StoredRun
from reference.protocol.states import ClientState
from reference.store import open_store
from simulation.emulator import open_emulator
from simulation.processes.fault_schedule import FaultPlayer, check_playable
from simulation.processes.participant import Participant
from simulation.processes.ports import free_ports
from simulation.processes.progress import Phase, Watcher, transport_changes, view_of
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import Plan
from simulation.processes.server_process import SERVER_COMMAND, ServerFailed, ServerPlace, open_server_process
from simulation.random import RandomStreams
from simulation.trace.trace import Trace

LOOK_INTERVAL_S_MIN, LOOK_INTERVAL_S_PER_CLIENT = 0.2, 0.005
"""How often the run is shown; less often for many clients."""
LATENESS_INTERVAL_S = 0.05
"""How often it is measured how late this process is."""
SETTLED_S = 0.5
"""How long all clients must have been settled, so that no data are in flight any more."""
SETTLE_INTERVAL_S = 0.05
LEAVE_S_MAX = 3.0
"""How long the clients may take to leave; then their connections are cut."""


@dataclass(frozen=True, slots=True)
class Played:
    """The result of a run.

    round_trips_ms: of every answered ping. delays_ms: how late the timed actions of this process were, which shows whether the
    machine could keep up. settled_s: how long everything took to settle after the work, None if not within the limit; late: the
    clients that had not settled then, a sentence for each.
    """

    plan: Plan
    trace: Trace
    round_trips_ms: tuple[float, ...]
    delays_ms: tuple[float, ...]
    settled_s: float | None
    late: tuple[str, ...]


async def play(
    plan: Plan,
    watcher: Watcher,
    directory: Path,
    *,
    server_command: Sequence[str] = SERVER_COMMAND,
    on_server: Callable[[str], None] | None = None,
) -> Played:
    """Carry out a plan, with all files in `directory`. `on_server` is called with the server's URL once the server listens.

    Raises ServerFailed, NoFreePort, and ConfigError for a fault that only the simulator has.
    """
    check_playable(plan.faults)
    run_id = str(UUID(int=plan.seed % 2**128))
    port, *link_ports = free_ports(1 + len(plan.clients))
    place = ServerPlace(
        port, f"sqlite:///{directory / 'events.sqlite3'}", run_id, directory / "server.log", plan.parameters.server
    )
    recorder = Recorder(plan.seed, run_id, plan.parameters)
    async with open_server_process(place, command=server_command, on_record=recorder.add_from_server) as server:
        watcher.say(0.0, f"starting a server on port {port}, with its log in SQLite")
        listening = await server.start()
        if on_server is not None:
            on_server(f"http://127.0.0.1:{port}")
        async with open_emulator("127.0.0.1", port, seed=plan.seed) as emulator:
            participants: list[Participant] = []
            for client, link_port in zip(plan.clients, link_ports, strict=True):
                link = await emulator.add_link(client.name, client.path, port=link_port)
                participants.append(Participant(client, plan.parameters, f"http://127.0.0.1:{link.port}"))
            recorder.begin()
            recorder.server_started(listening)
            run = _RealRun(plan, run_id, participants, recorder, FaultPlayer(server, emulator, recorder, watcher), watcher)
            settled_s, late = await run.perform()
        await server.stop()
    recorder.stored(await _read_store(place))
    return Played(plan, recorder.trace, tuple(recorder.round_trips_ms), tuple(run.delays_ms), settled_s, late)


@dataclass(slots=True)
class _RealRun:
    plan: Plan
    run_id: str
    participants: list[Participant]
    recorder: Recorder
    fault_player: FaultPlayer
    watcher: Watcher
    phase: Phase = Phase.WORK
    delays_ms: list[float] = field(default_factory=list)

    async def perform(self) -> tuple[float | None, tuple[str, ...]]:
        """Work, settle, leave. Returns the time of settling, and the late clients, as in Played."""
        random_source, recorder, is_over = RandomStreams(self.plan.seed), self.recorder, trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            nursery.start_soon(self._watch_lateness)
            for participant in self.participants:
                nursery.start_soon(participant.perform, self.run_id, recorder, random_source, is_over)
            async with trio.open_nursery() as work:
                work.start_soon(self.fault_player.happen, self.plan.faults)
                await trio.sleep(self.plan.seconds)
            begun_s = recorder.now_s
            self.phase = Phase.SETTLE
            self.watcher.say(begun_s, "the work is done and no fault is left: all clients have to settle")
            settled_s: float | None = None
            if self.plan.settle_s is None:
                with trio.move_on_after(self.plan.parameters.settle_s_max):
                    settled_s = max(0.0, await settle(self.participants, recorder) - begun_s)
            else:
                await trio.sleep(self.plan.settle_s)
            late = () if settled_s is not None else tuple(unsettled(self.participants, recorder))
            recorder.end()
            self.phase = Phase.END
            self._show()
            is_over.set()
            nursery.cancel_scope.deadline = trio.current_time() + LEAVE_S_MAX
        return settled_s, late

    async def _look(self) -> None:
        """Show the run several times a second, until it has settled."""
        while self.phase is not Phase.END:
            for sentence in transport_changes(self.recorder):
                self.watcher.say(self.recorder.now_s, sentence)
            self._show()
            await trio.sleep(max(LOOK_INTERVAL_S_MIN, LOOK_INTERVAL_S_PER_CLIENT * len(self.participants)))

    async def _watch_lateness(self) -> None:
        """Measure how late this process is."""
        while self.phase is not Phase.END:
            due = trio.current_time() + LATENESS_INTERVAL_S
            await trio.sleep_until(due)
            self.delays_ms.append((trio.current_time() - due) * 1000)

    def _show(self) -> None:
        is_up = self.fault_player.server_is_up
        self.watcher.show(view_of(self.plan, self.participants, self.recorder, self.phase, server_is_up=is_up))


async def settle(participants: Sequence[Participant], recorder: Recorder) -> float:
    """Return when everything has been settled for `SETTLED_S`; returns since when, in s since the trace began."""
    since_s: float | None = None
    while since_s is None or recorder.now_s - since_s < SETTLED_S:
        if any(unsettled(participants, recorder)):
            since_s = None
        elif since_s is None:
            since_s = recorder.now_s
        await trio.sleep(SETTLE_INTERVAL_S)
    return since_s


def unsettled(participants: Sequence[Participant], recorder: Recorder) -> Iterator[str]:
    """A sentence for each client that is not live over WebSocket, waits for an answer, or has not read up to the head."""
    head = recorder.head
    for participant in participants:
        name, client = participant.plan.name, participant.client
        if client is None:
            yield f"{name} has not joined"
        elif client.state is not ClientState.LIVE:
            yield f"{name} is {client.state.value}"
        elif client.queued_messages:
            yield f"{name} has {client.queued_messages} events without an answer"
        elif recorder.positions[name] < head:
            yield f"{name} is at event {recorder.positions[name]}, the head is {head}"


async def _read_store(place: ServerPlace) -> StoredRun:
    """The contents of the store in the server's file."""
    async with open_store(place.store) as store:
        stored = await store.load_run(place.run_id)
    if stored is None:
        raise ServerFailed(f"the server's store {place.store} does not hold the run {place.run_id} any more")
    return stored
