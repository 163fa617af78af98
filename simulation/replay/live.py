"""Real sessions recorded as a trace, and simulated again.

    recording = Recording(scenario, run_id)
    open_server(..., observe=recording.observe)         # the sessions of connections
    connect(..., tap=recording.tap_of("ada-0"))         # everything of each client
    await recording.apply(emulator, Outage(...))        # faults go through it
    recording.end(await store.load_run(run_id))

    result = replay(recording.trace, scenario)          # SimPy: the same publishes and faults, at the same times

So one trace comes from real sockets and one from virtual time, in the same format, checked by the same checkers and shown in the
same frames. The differences between them are what the model leaves out.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from reference.protocol.errors import ConfigError, LocalError
from reference.protocol.records import StoredRun
from reference.protocol.server.observations import Observation
from reference.protocol.session_trace import trace_started
from reference.protocol.timers import NS_PER_S
from reference.store.kept import parsed
from simulation.clock import ARRIVAL, Call
from simulation.emulator import Emulator
from simulation.replay.rebuild import faults_as_they_were
from simulation.scenario.faults import Fault
from simulation.scenario.scenario import Scenario, longest_wait_s
from simulation.scenario.workload import IDLE
from simulation.trace.index import index_of
from simulation.trace.trace import ClientStarted, FaultHappened, FaultOver, Published, Trace
from simulation.trace.writer import record_observations, record_stored, record_tapped
from simulation.world import Result, World

MACHINE_S_MAX = 0.5
"""What a busy machine may add to a round trip, in seconds, before a bound counts as violated."""


class LiveRecording:
    """The trace of a run on real sockets while it grows; used in trio's thread only. Its time begins with the first client.

    `scenario` has the clients and parameters; its workload and its faults are not used.
    """

    def __init__(self, scenario: Scenario, run_id: str) -> None:
        self.trace = Trace(
            [
                trace_started(
                    world="real",
                    seed=scenario.seed,
                    run_id=run_id,
                    client=scenario.client.config,
                    server=scenario.server.config,
                    wait_max_s=longest_wait_s(scenario.client.policy, scenario.end_s),
                    round_trip_max_s=scenario.round_trip_max_s + MACHINE_S_MAX,
                    heartbeat=scenario.client.heartbeat,
                )
            ]
        )
        self._all_clients = ", ".join(scenario.client_names)
        self._expected = list(scenario.client_names)
        self._origin: int | None = None
        self._is_over = False

    def tap_of(self, client: str) -> Callable[[int, Any], None]:
        """The client of that name begins now, and its id is its name; the result is for the `tap` of its connection.

        Raises ConfigError if the scenario has no such client, or it has begun already.
        """
        if client not in self._expected:
            raise ConfigError(f"{client!r} is not, or no longer, expected; the scenario's clients are {self._all_clients}")
        self._expected.remove(client)
        if self._origin is None:
            self._origin = round(trio.current_time() * NS_PER_S)
        self.trace.add(ClientStarted(at=self._now(), client=client, client_id=client, user_id=client))

        def tap(now: int, what: object) -> None:
            if not self._is_over:
                record_tapped(self.trace, client, what, self._since_origin(now))

        return tap

    def observe(self, observation: Observation) -> None:
        """For the server's `observe`."""
        if self._origin is not None and not self._is_over:
            record_observations(self.trace, [observation], self._now())

    async def apply(self, emulator: Emulator, fault: Fault) -> None:
        """Carry out a fault now, whatever its `at_s`, and return when it is over; if cancelled, the fault ends at once.

        Raises LocalError before the first client has begun, ConfigError and EmulatorError as the emulator does.
        """
        begun = self._now()
        fault = msgspec.structs.replace(fault, at_s=begun / NS_PER_S)
        emulator.check(fault)  # before it is recorded: a fault that is refused has not happened
        self.trace.add(FaultHappened(at=begun, fault=fault))
        try:
            await emulator.apply(fault)
        finally:
            if hasattr(fault, "duration_s"):
                self.trace.add(FaultOver(at=self._now(), fault=fault))

    def end(self, stored: StoredRun) -> None:
        """The trace ends, with the contents of the store; the leaving of clients is not part of it."""
        if not self._is_over:
            self._is_over = True
            record_stored(self.trace, parsed(stored), self._now())

    def _now(self) -> int:
        return self._since_origin(round(trio.current_time() * NS_PER_S))

    def _since_origin(self, now: int) -> int:
        if self._origin is None:
            raise LocalError("nothing has begun: the recording's time begins with its first client")
        return now - self._origin


def replay(trace: Trace, scenario: Scenario) -> Result:
    """Simulate the publishes and faults of `trace`, at the same times, in the world of `scenario`.

    The scenario's paths, parameters and seed are used; its workload and its faults are not. Everyone arrives at the beginning.
    Raises ConfigError if the trace has clients that the scenario does not have.
    """
    trace_index = index_of(trace)
    unknown = sorted(set(trace_index.clients) - set(scenario.client_names))
    if unknown:
        raise ConfigError(f"the trace has {', '.join(unknown)}, and the scenario has {', '.join(scenario.client_names)}")
    publishes = [publish for client in trace_index.clients.values() for publish in client.published.values()]
    scenario = scenario.replace(
        workload=IDLE,
        faults=faults_as_they_were(trace),
        horizon_s=max([1.0, *(publish.at / NS_PER_S for publish in publishes)]),
        groups=tuple(msgspec.structs.replace(group, arrive_within_s=0.0) for group in scenario.groups),
    )
    world = World(scenario)

    def publish_again(call: Call) -> None:
        publish: Published = call.argument
        world.clients[publish.client].publish(publish.event_type, publish.data)

    for publish in publishes:
        Call(world.clock, publish.at, ARRIVAL, publish_again, publish)
    return world.run()
