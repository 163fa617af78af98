"""TCP congestion control: slow start, congestion avoidance, restart after idle, the receiver's window. Pure; times are ns.

As in Linux (net/ipv4/tcp_input.c, tcp_output.c, tcp_cong.c), counted in packets:

    begin                 the initial window (RFC 6928: 10), no threshold
    an acknowledgement    of k packets: k more below the threshold (slow start), else k / window (one per round trip); only where
                          the window was in use: the most in flight within the last round trip was at least half of it in slow
                          start, all of it above the threshold (tcp_cwnd_validate)
    a loss                repaired by a fast retransmit: window and threshold are 0.7 of the window (CUBIC's beta); by a timeout:
                          the threshold is that, the window 1
    idle for longer       than one RTO: halved for each RTO, not below the initial window; the threshold is 3/4 of the window at
                          the least
    receive window        never more than that in flight, nor than the send buffer holds: what is in flight is still in it
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from simulation.scenario.paths import Tcp

BETA = 0.7
RepairedBy = Literal["", "fast", "timeout"]
"""What repairs a loss; "" if there is none."""


@dataclass(slots=True)
class _Flight:
    """Packets sent together. acked_at: when their acknowledgement arrives."""

    index: int
    packets: int
    acked_at: int
    loss: RepairedBy = ""


class CongestionWindow:
    """`packets`: the window, in packets."""

    __slots__ = (
        "_flights",
        "_in_flight",
        "_initial",
        "_limit",
        "_most",
        "_most_index",
        "_opens_at",
        "_reduced_at",
        "_sent_at",
        "_threshold",
        "packets",
        "unsent",
    )

    def __init__(self, tcp: Tcp, send_buffer_bytes: int | None = None) -> None:
        """`send_buffer_bytes`: of the sender; None: it grows with the window."""
        limit_bytes = tcp.receive_window_bytes if send_buffer_bytes is None else min(tcp.receive_window_bytes, send_buffer_bytes)
        self._initial = tcp.initial_window_packets
        self._limit = max(1, limit_bytes // tcp.mss_bytes)
        self._threshold = math.inf
        self._flights: list[_Flight] = []
        self._in_flight = 0
        self._most, self._most_index = 0, -1  # in flight within the last round trip, reached by this flight
        self._opens_at: int | None = None
        self._sent_at = 0
        self._reduced_at = -1
        self.packets = float(self._initial)
        self.unsent: list[tuple[int, Any]] = []
        """What the window holds back: remaining bytes and item. Used by its owner."""

    def room(self, now: int, rto: int) -> int:
        """How many packets may be sent at `now`."""
        self._hear(now)
        if not self._in_flight and now - self._sent_at > rto:
            self._restart(now - self._sent_at, rto)
        return max(0, min(int(self.packets), self._limit) - self._in_flight)

    def sent(self, now: int, index: int, packets: int, acked_at: int, loss: RepairedBy = "") -> None:
        """Packets were sent at `now`. `loss`: what repairs those that were lost, if known."""
        self._in_flight += packets
        self._sent_at = now
        if self._in_flight > self._most or not self._flights or self._flights[0].index > self._most_index:
            self._most, self._most_index = self._in_flight, index
        self._flights.append(_Flight(index, packets, acked_at, loss))
        if self._opens_at is None or acked_at < self._opens_at:
            self._opens_at = acked_at

    def corrected(self, index: int, acked_at: int, loss: RepairedBy = "fast") -> None:
        """The acknowledgement arrives at another time than expected. `loss`: what repairs the packet if it was lost."""
        for flight in self._flights:
            if flight.index == index:
                flight.acked_at = acked_at
                if flight.loss or loss != "fast":
                    flight.loss = loss
        self._opens_at = min((flight.acked_at for flight in self._flights), default=None)

    def opens_at(self) -> int | None:
        """When the next acknowledgement arrives."""
        return self._opens_at

    def timed_out(self) -> None:
        """After a timeout: nothing is in flight, and the window is 1."""
        self.forget()
        self._threshold = max(2.0, self.packets * BETA)
        self.packets = 1.0

    def forget(self) -> None:
        """Nothing is in flight any more."""
        self._flights.clear()
        self._opens_at = None
        self._in_flight = 0

    def _hear(self, now: int) -> None:
        if self._opens_at is None or self._opens_at > now:
            return
        flights = self._flights
        acked = [flight for flight in flights if flight.acked_at <= now]
        self._flights = [flight for flight in flights if flight.acked_at > now]
        self._opens_at = min((flight.acked_at for flight in self._flights), default=None)
        for flight in acked:
            self._in_flight -= flight.packets
            if flight.loss:
                self._reduce(flight.acked_at, is_timeout=flight.loss == "timeout")
            else:
                self._grow(flight)

    def _grow(self, flight: _Flight) -> None:
        if self.packets < self._threshold:
            if self.packets < 2 * self._most:
                self.packets = min(self.packets + flight.packets, max(self._threshold, self.packets))
        elif self.packets <= self._most + 1:
            self.packets += flight.packets / self.packets

    def _reduce(self, at: int, *, is_timeout: bool) -> None:
        if at <= self._reduced_at:
            return  # only once for packets lost together
        self._reduced_at = max([at, *(flight.acked_at for flight in self._flights if flight.loss)])
        self._threshold = max(2.0, self.packets * BETA)
        self.packets = 1.0 if is_timeout else self._threshold

    def _restart(self, idle: int, rto: int) -> None:
        if self.packets <= self._initial:
            return
        self._threshold = max(self._threshold, 0.75 * self.packets)
        for _ in range(min(64, (idle - 1) // rto)):
            self.packets /= 2
        self.packets = max(self.packets, float(self._initial))
