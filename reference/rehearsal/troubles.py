"""The faults, each at its time: those of the network by the emulator, those of the server by killing its process."""

from collections.abc import Sequence

import trio

from reference.rehearsal.recorder import Recorder
from reference.rehearsal.server_process import ServerProcess
from reference.rehearsal.watching import Watcher
from simulation.emulator import Emulator
from simulation.faults import Fault, ServerRestart, describe
from simulation.trace import FaultHappened, FaultOver, ServerKilled

PREPARE_S = 3.0
"""How long before the server is killed its successor begins to load its code."""


class Troubles:
    """Lets the faults of a plan happen, and records them."""

    def __init__(self, server: ServerProcess, emulator: Emulator, recorder: Recorder, watcher: Watcher) -> None:
        self._server = server
        self._emulator = emulator
        self._recorder = recorder
        self._watcher = watcher
        self.server_is_up = True

    async def happen(self, faults: Sequence[Fault]) -> None:
        """Return when all of them are over. Raises ServerFailed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kill_server, [fault for fault in faults if isinstance(fault, ServerRestart)])
            for fault in faults:
                if not isinstance(fault, ServerRestart):
                    nursery.start_soon(self._disturb, fault)

    async def _disturb(self, fault: Fault) -> None:
        await self._begin(fault)
        await self._emulator.apply(fault)
        self._end(fault)

    async def _kill_server(self, kills: Sequence[ServerRestart]) -> None:
        """One after the other, each with a successor that is ready to start."""
        for kill in kills:
            await trio.sleep(max(0.0, kill.at_s - PREPARE_S - self._recorder.now_s))
            await self._server.prepare()
            await self._begin(kill)
            self.server_is_up = False
            await self._server.kill()
            self._recorder.add(lambda at: ServerKilled(at=at))
            await trio.sleep(kill.duration_s)
            listening = await self._server.start()
            self.server_is_up = True
            self._recorder.server_started(listening)
            self._watcher.say(self._recorder.now_s, f"the server is back, with {listening.head} events from its store")
            self._end(kill)

    async def _begin(self, fault: Fault) -> None:
        await trio.sleep(max(0.0, fault.at_s - self._recorder.now_s))
        self._recorder.add(lambda at: FaultHappened(at=at, fault=fault))
        self._watcher.say(self._recorder.now_s, describe(fault))

    def _end(self, fault: Fault) -> None:
        if fault.end_s > fault.at_s:
            self._recorder.add(lambda at: FaultOver(at=at, fault=fault))
