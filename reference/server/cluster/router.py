"""Router: finds the process that a request is for.

It is used for everything that concerns one run and needs its owner. Everything else is answered where it arrives, including
refusals: a request that this process refuses is not relayed. Without a token the database is not queried.
"""

import re
import secrets
from collections.abc import Sequence

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.access.admission import AccessControl
from reference.server.access.auth import bearer_token
from reference.server.cluster.membership import Membership
from reference.server.registry import RunRegistry, canonical_run_id
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.store import StoreUnavailable
from reference.store.base import ProcessAddress

RELAYED = b"x-steadywire-relayed"
"""The header of relayed requests: the secret of the process that they are for."""
RETRY_AFTER_MS = 500
"""The wait that a client is asked for while the owner of a run changes."""
MISDIRECTED = 421
"""The HTTP status (RFC 9110) with which a process refuses a request relayed to it by mistake."""
HOP_BY_HOP = (b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"expect")
"""Headers that concern one connection only (RFC 9110, section 7.6.1)."""

_OF_A_RUN = re.compile(
    r"/(?:ws|api)/runs/([^/]*)/collaboration(?:/[^/]*)?"
    r"|/api/admin/websocket/(?:connections/([^/]*)|runs/([^/]*)(?:/send-away)?)"
)


class Router:
    """Where runs are served, for the relays of one process."""

    def __init__(self, runs: RunRegistry, admission: AccessControl, membership: Membership) -> None:
        self._runs = runs
        self._admission = admission
        self._membership = membership

    async def place_of(self, head: RequestHead) -> ProcessAddress | None:
        """The process that `head` is for; None for this one, and for what has no token yet. Raises HttpRefusal."""
        match = _OF_A_RUN.fullmatch(head.path)
        if match is None or head.method not in ("GET", "HEAD", "POST", "DELETE"):
            return None
        is_for_us = is_relayed(head.header(RELAYED), self._membership)
        try:
            run_id = canonical_run_id(match[1] or match[2] or match[3] or "")
            if is_for_us:
                await self._check_owned(run_id)
                return None
            self._admission.check(head)
            if bearer_token(head.headers) is None:
                return None  # a WebSocket whose token comes in hello is relayed when it has come
            self._admission.identify_upgrade(head, run_id)
        except MisdirectedError:
            raise
        except (HttpRefusal, RemoteError):
            return None
        return await self.place_of_run(run_id)

    async def place_of_run(self, run_id: str) -> ProcessAddress | None:
        """The process that serves this run; None for this one. Only for clients that may enter the run."""
        try:
            return await self._runs.place_of(run_id)
        except StoreUnavailable:
            return None

    def forget(self, head: RequestHead) -> None:
        """The process named for `head` refused it, or cannot be reached: look it up again."""
        match = _OF_A_RUN.fullmatch(head.path)
        if match is not None:
            self._runs.forget_place((match[1] or match[2] or match[3] or "").lower())

    async def _check_owned(self, run_id: str) -> None:
        """For a request that another process relays to this one, as the owner. Raises MisdirectedError if it is not."""
        self._runs.forget_place(run_id)
        try:
            place = await self._runs.place_of(run_id)
        except StoreUnavailable:
            return
        if place is not None:
            raise MisdirectedError("this process does not serve the run any more")


class MisdirectedError(HttpRefusal):
    """The answer to a process that relays a request to the wrong process: it asks the database and tries again."""

    def __init__(self, why: str) -> None:
        super().__init__(MISDIRECTED, CloseCode.OVERLOADED, why, retry_after_ms=RETRY_AFTER_MS)


def is_relayed(shown: bytes | None, membership: Membership) -> bool:
    """Whether a request with this secret was relayed to this process by another one. Raises HttpRefusal."""
    if shown is None:
        return False
    me = membership.place
    if me is None or not secrets.compare_digest(shown, me.secret.encode()):
        # It was meant for the process that had this address before, or for this one before it was cut off.
        raise MisdirectedError("this process is not the one that was meant")
    return True


def come_back(why: str) -> HttpRefusal:
    """The answer while the owner of a run is changing."""
    return HttpRefusal(503, CloseCode.OVERLOADED, why, retry_after_ms=RETRY_AFTER_MS)


def forwarded(head: RequestHead, place: ProcessAddress, *, without: Sequence[bytes] = ()) -> list[tuple[bytes, bytes]]:
    """The headers of `head` as the owner receives them."""
    headers = [(name, value) for name, value in head.headers if name not in (RELAYED, *without)]
    return [*headers, (RELAYED, place.secret.encode())]
