"""Carries out the faults, each at its time: network faults with the emulator, server faults with signals to its process.

    ServerRestart   SIGKILL, or SIGTERM if it is graceful; then the next process, on the same port and the same store
    Pause           SIGSTOP and SIGCONT

Other faults need control of a store, a clock, a device or a name and exist in the simulator only; `check_playable` refuses them.
"""

from collections.abc import Sequence

import trio

from reference.protocol.errors import ConfigError
from simulation.emulator import Emulator
from simulation.processes.progress import Watcher
from simulation.processes.recorder import Recorder
from simulation.processes.server_process import ServerProcess
from simulation.scenario.faults import Fault, LinkFault, Pause, ServerRestart, describe
from simulation.trace.trace import FaultHappened, FaultOver, ServerKilled, ServerStopped

PREPARE_S = 3.0
"""How long before the server is killed its successor begins to load its code."""


def check_playable(faults: Sequence[Fault]) -> None:
    """Raise ConfigError for a fault that is impossible with a real server process."""
    for fault in faults:
        if isinstance(fault, ServerRestart) and fault.loses_state:
            raise ConfigError("a server_restart that loses_state happens in the simulator only; simulate it, or remove it")
        if not isinstance(fault, LinkFault | ServerRestart | Pause):
            kind = fault.__struct_config__.tag
            raise ConfigError(f"a {kind} happens in the simulator only; simulate it, or remove it")


class FaultPlayer:
    """Carries out the faults of a plan, and records them."""

    def __init__(self, server: ServerProcess, emulator: Emulator, recorder: Recorder, watcher: Watcher) -> None:
        self._server = server
        self._emulator = emulator
        self._recorder = recorder
        self._watcher = watcher
        self.server_is_up = True

    async def happen(self, faults: Sequence[Fault]) -> None:
        """Return when all of them are over. Raises ServerFailed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._restart_server, [fault for fault in faults if isinstance(fault, ServerRestart)])
            for fault in faults:
                if isinstance(fault, Pause):
                    nursery.start_soon(self._pause_server, fault)
                elif not isinstance(fault, ServerRestart):
                    nursery.start_soon(self._disturb, fault)

    async def _disturb(self, fault: Fault) -> None:
        await self._begin(fault)
        await self._emulator.apply(fault)
        self._end(fault)

    async def _pause_server(self, pause: Pause) -> None:
        await self._begin(pause)
        await self._server.pause(pause.duration_s)
        self._end(pause)

    async def _restart_server(self, restarts: Sequence[ServerRestart]) -> None:
        """One after the other, each with a successor process that is ready to start."""
        for restart in restarts:
            await trio.sleep(max(0.0, restart.at_s - PREPARE_S - self._recorder.now_s))
            await self._server.prepare()
            await self._begin(restart)
            self.server_is_up = False
            starts_at_s = self._recorder.now_s + restart.duration_s
            await self._end_server(restart)
            await trio.sleep(max(0.0, starts_at_s - self._recorder.now_s))
            listening = await self._server.start()
            self.server_is_up = True
            self._recorder.server_started(listening)
            self._watcher.say(self._recorder.now_s, f"the server is back, with {listening.head} events from its store")
            self._end(restart)

    async def _end_server(self, restart: ServerRestart) -> None:
        if restart.is_graceful and await self._server.stop():
            self._recorder.add(lambda at: ServerStopped(at=at))
        else:
            await self._server.kill()
            self._recorder.add(lambda at: ServerKilled(at=at))

    async def _begin(self, fault: Fault) -> None:
        await trio.sleep(max(0.0, fault.at_s - self._recorder.now_s))
        self._recorder.add(lambda at: FaultHappened(at=at, fault=fault))
        self._watcher.say(self._recorder.now_s, describe(fault))

    def _end(self, fault: Fault) -> None:
        if hasattr(fault, "duration_s"):
            self._recorder.add(lambda at: FaultOver(at=at, fault=fault))
