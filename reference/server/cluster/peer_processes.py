"""PeerProcesses: sends a request to all other processes at once.

Each checks the token as if the client had connected to it directly. A process that does not answer in time is named in the
result. A process that was asked by another one answers for itself only.
"""

from dataclasses import dataclass, field

import httpcore
import trio

from reference.server.cluster.membership import Membership
from reference.server.cluster.router import RELAYED, forwarded, is_relayed
from reference.server.wire.request_head import RequestHead
from reference.store import StoreUnavailable
from reference.store.place import ProcessAddress

ANSWER_S_MAX = 2.0
"""For all answers, including the query of the database for the list of processes."""
UNKNOWN = "unknown: the database did not say who they are"


@dataclass(frozen=True, slots=True)
class Answers:
    """`received`: by HOST:PORT, status and body of the processes that answered. `silent`: the others."""

    received: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


class PeerProcesses:
    """The other processes, as listed by `membership`, over connections of `pool`."""

    def __init__(self, membership: Membership, pool: httpcore.AsyncConnectionPool) -> None:
        self._membership = membership
        self._pool = pool

    async def ask(self, head: RequestHead) -> Answers:
        """Their answers to a request without a body; none if one of them sent it. Raises HttpRefusal."""
        if is_relayed(head.header(RELAYED), self._membership):
            return Answers()
        received: dict[str, tuple[int, bytes]] = {}
        waiting: dict[str, ProcessAddress] = {UNKNOWN: ProcessAddress(0, "", 0, "")}
        with trio.move_on_after(ANSWER_S_MAX):
            try:
                places = await self._membership.others()
            except StoreUnavailable:
                return Answers(silent=(UNKNOWN,))
            waiting = {f"{place.host}:{place.port}": place for place in places}
            async with trio.open_nursery() as nursery:
                for name, place in waiting.items():
                    nursery.start_soon(self._ask, head, name, place, received)
        return Answers(received, tuple(name for name in waiting if name not in received))

    async def _ask(self, head: RequestHead, name: str, place: ProcessAddress, received: dict[str, tuple[int, bytes]]) -> None:
        url = httpcore.URL(scheme=b"http", host=place.host.encode(), port=place.port, target=head.target)
        try:
            answer = await self._pool.request(head.method, url, headers=forwarded(head, place))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            return
        received[name] = answer.status, answer.content
