"""Faults of devices, names and the server, carried out. Faults of links: `simulation.network.link_state`.

A client and its access link:

    Suspend         the device takes no input; its link is down meanwhile
    BackgroundTab   its timers go off only at rare ticks
    NetworkChange   its connections are dead, and its link is down for the gap; then it has another path
    DnsFailure      its resolver gets no answers
    Failover        all connections are dead, and the server has another address, which its name has later

The server's machine:

    ServerRestart   the process is killed, or stops gracefully; it is started again when the last restart is over
    RollingDeploy   the instances are replaced one after the other
    Pause           the process that runs at that time is paused
    SlowStore       factors of faults that overlap are multiplied
    ClockStep       the wall clock jumps; a process reads it when it starts

If a process is still stopping when its restart is over, its end is awaited. A process started during a pause is not paused.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from reference.protocol.timers import ns
from simulation.clock import FAULT, Call, Clock
from simulation.hosts.client import ClientHost
from simulation.hosts.server_host import ServerHost
from simulation.network.connection import ClientAccessLink
from simulation.network.names import Zone
from simulation.scenario.faults import (
    BackgroundTab,
    ClockStep,
    DeviceFault,
    DnsFailure,
    Failover,
    NameFault,
    NetworkChange,
    Outage,
    Pause,
    RollingDeploy,
    ServerFault,
    ServerRestart,
    SlowStore,
    Suspend,
)


class ClientFaults:
    """Carries out faults of clients. `access_links`: of all clients; `zone`: the server's name."""

    def __init__(
        self, clock: Clock, clients: Mapping[str, ClientHost], access_links: Mapping[str, ClientAccessLink], zone: Zone
    ) -> None:
        self._clock = clock
        self._clients = clients
        self._access_links = access_links
        self._zone = zone

    def begin(self, fault: DeviceFault | NameFault) -> None:
        """The fault begins now."""
        if isinstance(fault, Failover):
            self._zone.begin(fault)
        for name in self._hit_by(fault):
            client, link = self._clients[name], self._access_links[name]
            match fault:
                case Suspend():
                    link.begin(_outage(fault))
                    client.begin_sleep(fault)
                case BackgroundTab():
                    client.begin_background(fault)
                case NetworkChange(path=path, is_notified=is_notified, duration_s=gap_s):
                    if gap_s:
                        link.begin(_outage(fault))
                    link.leave_network(path, is_notified=is_notified)
                case DnsFailure():
                    link.begin_dns_failure(fault)
                case Failover(old_address=old_address):
                    link.lose_address(is_notified=old_address == "refuses")
                case _:
                    assert_never(fault)

    def end(self, fault: DeviceFault | NameFault) -> None:
        """The fault ends."""
        if isinstance(fault, Failover):
            self._zone.publish(self._clock.now)
            return
        for name in self._hit_by(fault):
            client, link = self._clients[name], self._access_links[name]
            match fault:
                case Suspend():
                    link.end(_outage(fault))
                    client.end_sleep(fault)
                case BackgroundTab():
                    client.end_background(fault)
                case NetworkChange(duration_s=gap_s):
                    if gap_s:
                        link.end(_outage(fault))
                case DnsFailure():
                    link.end_dns_failure(fault)
                case _:
                    assert_never(fault)

    def _hit_by(self, fault: DeviceFault | NameFault) -> tuple[str, ...]:
        return fault.clients or tuple(self._clients)


def _outage(fault: Suspend | NetworkChange) -> Outage:
    """The outage of the link while the fault lasts."""
    return Outage(at_s=fault.at_s, duration_s=fault.duration_s)


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
