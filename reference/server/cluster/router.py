"""Router: finds the process that serves a run.

A process admits every client that connects to it, before it looks for the owner: origin, token and rate (`access.admission`). So
without a token the database is not queried, and with one not more often than the user's rates permit. A request of one process
to another shows the other's secret; one that was not meant for this process, or is for a run that it does not serve, is refused
before anything else, so that the sender asks the database again.
"""

import re
import secrets
from collections.abc import Sequence

from reference.protocol.errors import CloseCode
from reference.server.cluster.membership import Membership
from reference.server.registry import RunRegistry
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.store import StoreUnavailable
from reference.store.base import ProcessAddress, is_run_id

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

    def __init__(self, runs: RunRegistry, membership: Membership) -> None:
        self._runs = runs
        self._membership = membership

    async def place_of(self, run_id: str) -> ProcessAddress | None:
        """The process that serves this run; None for this one. Only for clients that are admitted."""
        try:
            return await self._runs.place_of(run_id)
        except StoreUnavailable:
            return None

    def forget(self, run_id: str) -> None:
        """The process named for this run refused it, or cannot be reached: look it up again."""
        self._runs.forget_place(run_id)

    async def check_relayed(self, head: RequestHead) -> None:
        """Refuse a request about a run that another process relays to this one, if this one does not serve the run. Raises
        MisdirectedError."""
        match = _OF_A_RUN.fullmatch(head.path)
        if match is None or not is_relayed(head.header(RELAYED), self._membership):
            return
        run_id = (match[1] or match[2] or match[3] or "").lower()
        self._runs.forget_place(run_id)
        if is_run_id(run_id) and await self.place_of(run_id) is not None:
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
