"""Refused users: users whom an operator has shut out of every run until a time.

The check is part of every token check, so it covers upgrades, `hello`, `auth` and requests. It lasts as long as the process: a
restart forgets it, and a user who must stay out for good must not be given tokens. Admins cannot be refused, so an admin can
always cancel a refusal.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.access.auth import Authenticator, Holder

REFUSED_USERS_MAX = 10_000
"""Refusals in force at the same time."""


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
