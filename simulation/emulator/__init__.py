"""The network emulator: a TCP proxy that gives real sockets the `Path` and `Fault`s of the simulator.

    async with open_emulator("127.0.0.1", server_port, seed=1) as emulator:
        ada = await emulator.add_link("ada", Path(latency_s=0.05, jitter_s=0.02, bandwidth_bytes_per_s=1e6))
        ...                                  # point ada's client at 127.0.0.1, ada.port
        await ada.outage(5)                  # by hand; returns when it is over
        ada.change_path(Path(latency_s=0.4)) # from now on, also for existing connections
        await emulator.run_schedule(faults)  # or a scenario's whole list

The ideas, one module each:

    sockets      ports that can refuse, an abortive close, small buffers
    pipe         one direction of one connection: when does which byte arrive
    upgrades     the middlebox that lets HTTP pass and blocks WebSockets
    connection   two pipes between two streams: handshake, close, half-close, reset
    access_link  one client's access link: its connections, and the faults that hit them; the faults as methods
    proxy        all access links, and the schedule
    errors       errors of its caller
    statistics   what happened, as frozen values

`simulation.network.delay` computes when bytes arrive, as in the simulator: distributions, network traces, bottleneck, queue, and
loss as the delay of TCP's retransmissions. `await emulator.run_availability(...)` runs the uptimes and downtimes of links.

Not imitated: a client's `connect()` succeeds at once, because the kernel answers it; the round trips of a handshake, including
those of TLS (`tcp.tls`), are added before the first byte instead. Real kernels acknowledge to the proxy, so none gives a dead
connection up (`tcp.retries`), and none closes its window. TLS is opaque bytes, so
`block_upgrade` and a middlebox's `upgrades` see plain HTTP only. All times are real (or trio's virtual) seconds; the operating
system adds fractions of a millisecond.
"""

from simulation.emulator.access_link import EmulatedAccessLink
from simulation.emulator.errors import EmulatorError
from simulation.emulator.proxy import Emulator, open_emulator
from simulation.emulator.statistics import AppliedFault, EmulatorStatistics, LinkStatistics

__all__ = [
    "AppliedFault",
    "EmulatedAccessLink",
    "Emulator",
    "EmulatorError",
    "EmulatorStatistics",
    "LinkStatistics",
    "open_emulator",
]
