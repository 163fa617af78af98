"""Admission: the checks of every upgrade and request, always in the same order.

the page     the origin, if a web page sent it (`origins`)
the moment   everything is refused when the server is about to stop
the run id   in its canonical form
the token    the user, and whether the user may enter that run, or is an admin (`auth`)
the rate     of upgrades, and of requests about runs, by user (`users`)
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.server.connection import Identity
from reference.server.access.auth import Authenticator, Holder, bearer_token, identify
from reference.server.access.origins import OriginPolicy
from reference.server.access.users import RefusedUsers, UserRates
from reference.server.clock import ServerClock
from reference.server.registry import canonical_run_id
from reference.server.wire.request_head import HttpRefusal, RequestHead

BYTES_FREE = 8 * 1024
"""A request counts as one more for each of these in its body and its answer."""


class AccessControl:
    """One per server."""

    def __init__(
        self,
        authenticator: Authenticator,
        clock: ServerClock,
        origins: OriginPolicy,
        refused: RefusedUsers,
        *,
        retry_after_ms: int,
        requests_per_s_max: int,
        upgrades_per_s_max: int,
        unauthenticated_max: int,
    ) -> None:
        """`requests_per_s_max` and `upgrades_per_s_max` are for one user; twice as many may come at once. `unauthenticated_max`:
        WebSockets that have not sent a token."""
        self._unauthenticated_max = unauthenticated_max
        self._awaiting: set[trio.CancelScope] = set()
        self._requests = UserRates(Limit.REQUEST_RATE, "sends requests", requests_per_s_max, 2 * requests_per_s_max)
        self._upgrades = UserRates(Limit.UPGRADE_RATE, "opens WebSockets", upgrades_per_s_max, 2 * upgrades_per_s_max)
        self._authenticator = authenticator
        self._clock = clock
        self._origins = origins
        self._refused = refused
        self._retry_after_ms = retry_after_ms
        self._is_going_away = False

    @property
    def is_going_away(self) -> bool:
        """Whether the server is about to stop."""
        return self._is_going_away

    def close(self) -> None:
        """Refuse everything from now on."""
        self._is_going_away = True
        for scope in self._awaiting:
            scope.cancel()

    @contextmanager
    def awaiting_token(self, timeout_s: float) -> Iterator[None]:
        """Context manager around the wait for a connection's token; it ends early when the server begins to stop.

        Raises RemoteError.
        """
        if len(self._awaiting) >= self._unauthenticated_max:
            reason = f"{self._unauthenticated_max} connections have not sent a token yet, the limit; try again later"
            raise RemoteError(CloseCode.OVERLOADED, reason, Limit.UNAUTHENTICATED)
        with trio.move_on_after(timeout_s) as scope:
            self._awaiting.add(scope)
            try:
                yield
            finally:
                self._awaiting.discard(scope)

    def check(self, head: RequestHead) -> None:
        """Check the origin, and whether the server is about to stop. Raises HttpRefusal."""
        self.check_origin(head)
        if self._is_going_away:
            wait_ms = self._retry_after_ms
            raise HttpRefusal(503, CloseCode.GOING_AWAY, "the server is going away", retry_after_ms=wait_ms)

    def check_origin(self, head: RequestHead) -> None:
        """Check only the origin. Raises HttpRefusal."""
        self._origins.check(head.header(b"origin"), head.header(b"host"))

    def allows_origin(self, head: RequestHead) -> bool:
        """Whether the page that sent `head` may read the answer."""
        return self._origins.allows(
            (head.header(b"origin") or b"").decode("latin-1"), (head.header(b"host") or b"").decode("latin-1")
        )

    def check_still_open(self) -> None:
        """Raise RemoteError if the server began to stop while a run was being loaded."""
        if self._is_going_away:
            raise RemoteError(CloseCode.GOING_AWAY, "the server is going away")

    def check_still_allowed(self, head: RequestHead, run_id: str, identity: Identity) -> None:
        """Raise RemoteError if an operator has refused the user since the token in `head` was checked."""
        if self._refused.is_refused(identity.user_id, self._clock.wall()):
            self.identify(bearer_token(head.headers), run_id)  # which takes an admin

    def admit_upgrade(self, head: RequestHead) -> None:
        """Check an upgrade, and the rate if a token came with it. A token that is not valid is refused later, by a close code.
        Raises HttpRefusal."""
        self.check(head)
        with suppress(RemoteError):
            holder = self._authenticator.holder(bearer_token(head.headers), self._clock.wall())
            if isinstance(holder, Holder):
                self._upgrades.spend(holder.user_id, self._clock.now())

    def admit_hello(self, token: str | None, run_id: str) -> None:
        """Check the token of `hello`, and the rate: no token came with the upgrade. Raises RemoteError."""
        identity = self.identify(token, run_id)
        try:
            self._upgrades.spend(identity.user_id, self._clock.now())
        except HttpRefusal as refusal:
            raise RemoteError(CloseCode.RATE, refusal.message, refusal.limit) from None

    def identify_upgrade(self, head: RequestHead, run_id: str) -> Identity | None:
        """The user of the token that came with an upgrade; None if none came, and hello has to bring one. Raises RemoteError."""
        token = bearer_token(head.headers)
        return None if token is None else self.identify(token, run_id)

    def admit_request(self, head: RequestHead, run_id_text: str) -> tuple[str, Identity]:
        """The run of a request, and its user. Raises HttpRefusal or RemoteError."""
        self.check(head)
        run_id = canonical_run_id(run_id_text)
        identity = self.identify(bearer_token(head.headers), run_id)
        self._requests.spend(identity.user_id, self._clock.now())
        return run_id, identity

    def charge(self, identity: Identity, size_bytes: int) -> None:
        """Count a large body of a request about a run, or of its answer, as several requests, because it takes as long."""
        self._requests.charge(identity.user_id, size_bytes // BYTES_FREE, self._clock.now())

    def check_debt(self, identity: Identity) -> None:
        """Raise HttpRefusal if the answers to other requests of the user, which were admitted at the same time, were so large
        that no further one may be made now."""
        self._requests.check_debt(identity.user_id, self._clock.now())

    def admit_admin(self, head: RequestHead) -> Identity:
        """The admin who sent the request. Raises HttpRefusal or RemoteError."""
        self.check(head)
        holder = self._authenticator.holder(bearer_token(head.headers), self._clock.wall())
        if isinstance(holder, RemoteError):
            raise holder
        if holder.role != "admin":
            raise RemoteError(CloseCode.FORBIDDEN, "this needs a token with the role admin")
        return Identity(holder.user_id, holder.expires_at, holder.issued_at)

    def identify(self, token: str | None, run_id: str) -> Identity:
        """The user of a token that grants access to the run. Raises RemoteError."""
        identity = identify(self._authenticator, token, run_id, self._clock.wall())
        if isinstance(identity, RemoteError):
            raise identity
        return identity
