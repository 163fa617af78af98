"""Request: the argument of every operation."""

from dataclasses import dataclass, field
from typing import Any

import trio

from reference.protocol.errors import CloseCode
from reference.protocol.server.connection import Identity
from reference.server.http.answers import RequestRefused
from reference.server.wire.exchange import Receive
from reference.server.wire.request_head import RequestHead


@dataclass(frozen=True, slots=True)
class Request:
    """One admitted request."""

    head: RequestHead
    receive: Receive
    """ASGI's receive: the body, and then the notice that the client has disconnected."""
    path_parameters: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    """The user of the token; None for operations that need none."""

    @property
    def user_id(self) -> str:
        """Only for an operation that needs a token."""
        return self.caller.user_id

    @property
    def caller(self) -> Identity:
        """Only for an operation that needs a token."""
        assert self.identity is not None, "this operation is answered to everybody"
        return self.identity

    @property
    def run_id(self) -> str:
        """Only for an operation with {runId} in its path; in canonical form."""
        return self.path_parameters["runId"]

    async def body(self) -> bytes:
        """The whole body, whose size the front door limits. Raises RequestRefused if the client disconnects before its end."""
        pieces: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RequestRefused(CloseCode.TOO_SLOW, "the client went away before its request was complete")
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)


def head_of(scope: Any) -> RequestHead:
    """The head of the request of an ASGI scope."""
    query = scope["query_string"]
    return RequestHead(
        method=scope["method"],
        target=scope["raw_path"] + (b"?" + query if query else b""),
        http_version=scope["http_version"],
        headers=tuple(scope["headers"]),
        client=scope["client"],
        server=scope["server"],
    )


async def wait_until_gone(request: Request, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
