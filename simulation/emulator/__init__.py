"""A real TCP proxy that does to live sockets what the simulator does to simulated: a `Path` and `Fault`s.

    async with open_emulator("127.0.0.1", server_port, seed=1) as emulator:
        ada = await emulator.add_line("ada", Path(latency_s=0.05, jitter_s=0.02, bandwidth_bytes_per_s=1e6))
        ...                                  # point ada's client at 127.0.0.1, ada.port
        await ada.outage(5)                  # by hand; returns when it is over
        ada.change_path(Path(latency_s=0.4)) # from now on, for connections that stand too
        await emulator.run_schedule(faults)  # or a scenario's whole list

The ideas, one module each:

    streams     what a connection needs of a socket beyond trio's Stream: an abortive close
    lane        one direction of one connection: when does which byte arrive
    upgrades    the middlebox that lets HTTP pass and forbids WebSockets
    connection  two lanes between two streams: handshake, close, half-close, reset
    door        a port that can be open or refuse
    line        one client's way to the server: its connections, and the faults that hit them
    proxy       all lines, and the schedule
    errors      what its caller can do wrong
    verbs       the faults as methods, for one line or for all
    statistics  what happened, as frozen snapshots

When bytes arrive is for `simulation.network.delay` to say, as in the simulator: laws, recordings, bottleneck, queue, and loss
as the delay of TCP's retransmissions. `await emulator.run_availability(...)` lets lines come and go by themselves.

What it does not imitate, so that nobody looks for it: a client's `connect()` succeeds at once, because the
kernel answers it; the round trips that a handshake costs, TLS's of `tcp.tls` included, are charged before the
first byte instead. Real kernels acknowledge to the proxy what it holds, so none gives a dead line up
(`tcp.retries`), and none closes its window. Congestion control is not imitated. TLS is opaque bytes, so
`block_upgrade` and a middlebox's `upgrades` see plain HTTP only. All times are real (or trio's virtual)
seconds; the operating system adds its own fractions of a millisecond.
"""

from simulation.emulator.access_link import EmulatedAccessLink
from simulation.emulator.errors import EmulatorError
from simulation.emulator.proxy import Emulator, open_emulator
from simulation.emulator.statistics import AppliedFault, EmulatorStatistics, LineStatistics

__all__ = [
    "AppliedFault",
    "EmulatedAccessLink",
    "Emulator",
    "EmulatorError",
    "EmulatorStatistics",
    "LineStatistics",
    "open_emulator",
]
