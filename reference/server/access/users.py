"""What one user may do, over all runs of a server: WebSockets, new ones and requests per second, new runs per minute; and users
whom an operator has refused.

A run's machine knows only its own run, so these limits are the server's. A user above a limit is refused with the protocol's
error; other users are not affected.

A refusal shuts a user out of every run until a time. It is part of every token check, so it covers upgrades, `hello`, `auth` and
requests. It lasts as long as the process, and with several processes on one database as long as one of them: a process that joins
asks the others. When all have ended it is forgotten, and a user who must stay out for good must not be given tokens.
Admins cannot be refused, so an admin can always cancel a refusal.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.server.connection import TokenBucket
from reference.server.access.auth import Authenticator, Holder
from reference.server.wire.request_head import HttpRefusal

USERS_REMEMBERED_MAX = 10_000
"""Users whose rates are tracked; above it, the least recently active user is forgotten and starts with a full bucket."""
REFUSED_USERS_MAX = 10_000
"""Refusals in force at the same time."""


class UserConnections:
    """WebSocket connections by user."""

    def __init__(self, per_user_max: int) -> None:
        self._max = per_user_max
        self._users: dict[int, str] = {}  # by connection
        self._counts: Counter[str] = Counter()

    def enter(self, connection_id: int, user_id: str) -> RemoteError | None:
        """Count the connection for that user, and for no other; or return why it is refused."""
        if self._users.get(connection_id) == user_id:
            return None
        if self._counts[user_id] >= self._max:
            reason = f"this user has {self._max} connections to this server, its limit; close one, or try again later"
            return RemoteError(CloseCode.OVERLOADED, reason, Limit.USER_CONNECTIONS)
        self.leave(connection_id)  # a token of hello counts before that of the upgrade (8.35)
        self._users[connection_id] = user_id
        self._counts[user_id] += 1
        return None

    def of_user(self, user_id: str) -> tuple[int, ...]:
        """The numbers of that user's connections."""
        if user_id not in self._counts:
            return ()
        return tuple(number for number, user in self._users.items() if user == user_id)

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
        """Take so many more for something already done; those that are missing become a debt (`TokenBucket.drain`)."""
        rate_limit = self._users.get(user_id)
        if rate_limit is not None and tokens > 0:
            rate_limit.drain(now, tokens)

    def spend(self, user_id: str, now: int) -> None:
        """Take one token. Raises HttpRefusal RATE, with the time to wait."""
        rate_limit = self._users.setdefault(user_id, TokenBucket(self._per_s, self._burst))
        self._users.move_to_end(user_id)
        if len(self._users) > USERS_REMEMBERED_MAX:
            self._users.popitem(last=False)
        self._refuse_for(rate_limit.spend(now))

    def check_debt(self, user_id: str, now: int) -> None:
        """Raise HttpRefusal RATE, with the time to wait, if there is a debt."""
        rate_limit = self._users.get(user_id)
        if rate_limit is not None:
            self._refuse_for(rate_limit.spend(now, 0))

    def _refuse_for(self, wait_ms: int) -> None:
        if wait_ms:
            why = f"this user {self._what} too often"
            raise HttpRefusal(429, CloseCode.RATE, why, retry_after_ms=wait_ms, limit=self._limit)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`until` in ns since 1970; `refused_by` is the admin."""

    user_id: str
    until: int
    refused_by: str


class RefusedUsers:
    """The table. Times in ns since 1970."""

    def __init__(self) -> None:
        self._refusals: dict[str, Refusal] = {}

    def refuse(self, refusal: Refusal, now: int) -> None:
        """Refuse a user, or change the end of the refusal. Raises RemoteError OVERLOADED if there is no room."""
        if refusal.user_id not in self._refusals and len(self._refusals) >= REFUSED_USERS_MAX:
            self._forget_those_over(now)
        if refusal.user_id not in self._refusals and len(self._refusals) >= REFUSED_USERS_MAX:
            reason = f"{REFUSED_USERS_MAX} users are refused already, which is the limit; allow some again"
            raise RemoteError(CloseCode.OVERLOADED, reason)
        self._refusals[refusal.user_id] = refusal

    def allow(self, user_id: str) -> bool:
        """Cancel a refusal; False if the user was not refused."""
        return self._refusals.pop(user_id, None) is not None

    def is_refused(self, user_id: str, now: int) -> bool:
        refusal = self._refusals.get(user_id)
        return refusal is not None and now < refusal.until

    def listed(self, now: int) -> Iterator[Refusal]:
        """The refusals in force, the first to end first."""
        self._forget_those_over(now)
        yield from sorted(self._refusals.values(), key=lambda refusal: (refusal.until, refusal.user_id))

    def _forget_those_over(self, now: int) -> None:
        self._refusals = {user_id: refusal for user_id, refusal in self._refusals.items() if now < refusal.until}


class RefusingAuthenticator:
    """The Authenticator `inner`, but refused users are rejected."""

    def __init__(self, inner: Authenticator, refused: RefusedUsers) -> None:
        self._inner = inner
        self._refused = refused

    def holder(self, token: str | None, now: int) -> Holder | RemoteError:
        """As Authenticator.holder."""
        holder = self._inner.holder(token, now)
        if isinstance(holder, RemoteError) or holder.role == "admin" or not self._refused.is_refused(holder.user_id, now):
            return holder
        return RemoteError(CloseCode.FORBIDDEN, "an operator has refused this user")
