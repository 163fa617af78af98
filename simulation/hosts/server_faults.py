"""The faults of the server, carried out on its machine.

    ServerRestart   the process is killed, or stops gracefully; it is started again when the last restart is over
    RollingDeploy   the instances are replaced one after the other
    Pause           the process that runs at that time is paused
    SlowStore       factors of faults that overlap are multiplied
    ClockStep       the wall clock jumps; a process reads it when it starts

If a process is still stopping when its restart is over, its end is awaited. A process started during a pause is not paused.
"""

from collections.abc import Callable
from typing import assert_never

from reference.protocol.timers import ns
from simulation.clock import FAULT, Call
from simulation.hosts.server_host import ServerHost
from simulation.scenario.faults import ClockStep, Pause, RollingDeploy, ServerFault, ServerRestart, SlowStore


class ServerFaults:
    """Carries out faults of one server. `on_over` is called for each when it is over."""

    def __init__(self, host: ServerHost, on_over: Callable[[ServerFault], None], new_epoch: Callable[[], str]) -> None:
        self._host = host
        self._on_over = on_over
        self._new_epoch = new_epoch
        self._restarts_under_way = 0
        self._late: list[ServerFault] = []  # restarts that are over while the process is still stopping

    def begin(self, fault: ServerFault) -> None:
        """The fault begins now."""
        host, clock = self._host, self._host.clock
        match fault:
            case ServerRestart():
                self._begin_restart(fault)
            case RollingDeploy(at_s=at_s, duration_s=duration_s, is_graceful=is_graceful):
                count = host.instances.count
                for instance in range(count):
                    out_at, back_at = (ns(at_s + duration_s * turn / count) for turn in (instance, instance + 1))
                    Call(clock, max(clock.now, out_at), FAULT, self._replace, (instance, is_graceful))
                    Call(clock, max(clock.now, back_at), FAULT, self._put_back, instance)
            case Pause(duration_s=duration_s):
                process = host.process
                if process is not None:
                    process.work.pause()
                    Call(clock, clock.now + ns(duration_s), FAULT, self._resume, process)
            case SlowStore(factor=factor):
                host.store.slow(factor)
            case ClockStep(step_s=step_s):
                host.wall_clock_ahead += round(step_s * 1e9)
            case _:
                assert_never(fault)

    def end(self, fault: ServerFault) -> None:
        """The fault ends."""
        if isinstance(fault, SlowStore):
            self._host.store.recover(fault.factor)
        if not isinstance(fault, ServerRestart):
            self._on_over(fault)
            return
        self._restarts_under_way -= 1
        if self._restarts_under_way or self._host.process is None:
            self._start_again()
            self._on_over(fault)
        else:
            self._late.append(fault)

    def _begin_restart(self, fault: ServerRestart) -> None:
        host = self._host
        self._restarts_under_way += 1
        if host.process is not None and not fault.is_graceful:
            host.kill()
        elif host.process is not None and not host.process.is_leaving:
            host.stop(self._stopped)
        if fault.loses_state:
            host.lose_store(self._new_epoch())

    def _stopped(self) -> None:
        self._start_again()
        late, self._late = self._late, []
        for fault in late:
            self._on_over(fault)

    def _start_again(self) -> None:
        if not self._restarts_under_way and self._host.process is None:
            self._host.start()

    def _replace(self, call: Call) -> None:
        instance, is_graceful = call.argument
        self._host.replace(instance, is_graceful=is_graceful)

    def _put_back(self, call: Call) -> None:
        self._host.instances.put_back(call.argument)

    def _resume(self, call: Call) -> None:
        call.argument.work.resume()
