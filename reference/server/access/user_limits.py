"""Limits of one user, over all runs of a server: open connections, requests per second, new runs per minute.

A run's machine knows only its own run, so these limits are the server's. A user above a limit is refused with the protocol's
error; other users are not affected.
"""

from collections import Counter, OrderedDict

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.rate_limit import TokenBucket
from reference.server.http.answers import RequestRefused

USERS_REMEMBERED_MAX = 10_000
"""Users whose rates are tracked; above it, the least recently active user is forgotten and starts with a full bucket."""


class UserConnections:
    """WebSocket connections by user."""

    def __init__(self, per_user_max: int) -> None:
        self._max = per_user_max
        self._users: dict[int, str] = {}  # by connection
        self._counts: Counter[str] = Counter()

    def enter(self, connection_id: int, user_id: str) -> RemoteError | None:
        """Count the connection for that user, once; or return why it is refused."""
        if connection_id in self._users:
            return None
        if self._counts[user_id] >= self._max:
            reason = f"this user has {self._max} connections to this server, its limit; close one, or try again later"
            return RemoteError(CloseCode.OVERLOADED, reason, Limit.USER_CONNECTIONS)
        self._users[connection_id] = user_id
        self._counts[user_id] += 1
        return None

    def leave(self, connection_id: int) -> None:
        """The connection is over; does nothing if it was not counted."""
        user_id = self._users.pop(connection_id, None)
        if user_id is not None:
            self._counts[user_id] -= 1
            if not self._counts[user_id]:
                del self._counts[user_id]


class UserRates:
    """The rate at which each user may do one thing."""

    def __init__(self, limit: Limit, what: str, per_s: float, burst: int) -> None:
        """`what`: the phrase for the message, what is done too often."""
        self._limit = limit
        self._what = what
        self._per_s = per_s
        self._burst = burst
        self._users: OrderedDict[str, TokenBucket] = OrderedDict()

    def charge(self, user_id: str, tokens: int, now: int) -> None:
        """Take as many as `tokens` more for something already done, as far as there are tokens."""
        rate_limit = self._users.get(user_id)
        if rate_limit is not None and tokens > 0:
            rate_limit.drain(now, tokens)

    def spend(self, user_id: str, now: int) -> None:
        """Take one token. Raises RequestRefused RATE, with the time to wait."""
        rate_limit = self._users.setdefault(user_id, TokenBucket(self._per_s, self._burst))
        self._users.move_to_end(user_id)
        if len(self._users) > USERS_REMEMBERED_MAX:
            self._users.popitem(last=False)
        wait_ms = rate_limit.spend(now)
        if wait_ms:
            raise RequestRefused(CloseCode.RATE, f"this user {self._what} too often", wait_ms, self._limit)
