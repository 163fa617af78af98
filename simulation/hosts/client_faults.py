"""The faults of devices and of name resolution, carried out on clients and their access links.

Suspend         the device takes no input; its link is down meanwhile
BackgroundTab   its timers go off only at rare ticks
NetworkChange   its connections are dead, and its link is down for the gap; then it has another path
DnsFailure      its resolver gets no answers
Failover        all connections are dead, and the server has another address, which its name has later
"""

from collections.abc import Mapping
from typing import assert_never

from simulation.clock import Clock
from simulation.hosts.client import ClientHost
from simulation.network.connection import ClientAccessLink
from simulation.network.names import Zone
from simulation.scenario.faults import BackgroundTab, DeviceFault, DnsFailure, Failover, NameFault, NetworkChange, Outage, Suspend


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
