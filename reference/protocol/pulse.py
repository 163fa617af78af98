"""Pings over one WebSocket: is it alive, and how long is the way there and back.

A ping goes out at the start and then at every interval; its round trip is measured by this clock alone. Any byte from the server
counts as life, so the limit runs only from a ping to the next byte, whatever that is.
"""

from reference.protocol import frames
from reference.protocol.client_desk import Desk, Timer
from reference.protocol.health import HealthRecord
from reference.protocol.timers import ns

_REMEMBERED_MAX = 8  # pings on their way; older ones would have ended the connection


class Pulse:
    """The pings of one client session; `stopped` between its connections."""

    def __init__(self, desk: Desk, record: HealthRecord) -> None:
        self._desk = desk
        self._record = record
        self._sent_at: dict[int, int] = {}
        self._next_nonce = 0

    def ping(self, now: int) -> frames.Ping:
        """The next ping, to be sent now."""
        nonce = self._next_nonce
        self._next_nonce += 1
        self._sent_at[nonce] = now
        if len(self._sent_at) > _REMEMBERED_MAX:
            del self._sent_at[next(iter(self._sent_at))]
        self._desk.timers.set(Timer.PING, now + ns(self._desk.config.ping_interval_s))
        if Timer.PONG not in self._desk.timers:
            self._desk.timers.set(Timer.PONG, now + ns(self._desk.config.ping_timeout_s))
        return frames.Ping(nonce=nonce, round_trip_ms=self._record.last_round_trip_ms)

    def heard(self) -> None:
        """Something came from the server."""
        self._desk.timers.cancel(Timer.PONG)

    def pong(self, nonce: int, now: int) -> bool:
        """An answer came. Returns whether it answers a ping of this connection."""
        sent_at = self._sent_at.pop(nonce, None)
        if sent_at is None:
            return False
        self._record.round_trip(now - sent_at)
        return True

    def stopped(self) -> None:
        """The connection is gone."""
        self._sent_at.clear()
        for timer in (Timer.PING, Timer.PONG):
            self._desk.timers.cancel(timer)
