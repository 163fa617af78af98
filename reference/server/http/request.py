"""Request: what an operation is called with."""

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
    """One request that was admitted."""

    head: RequestHead
    receive: Receive
    """As ASGI has it: the body, and then the news that the client has gone."""
    path_parameters: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    """Whose token it is; None for operations that need none."""

    @property
    def user_id(self) -> str:
        """Of an operation that needs a token."""
        return self.caller.user_id

    @property
    def caller(self) -> Identity:
        """Of an operation that needs a token."""
        assert self.identity is not None, "this operation is answered to everybody"
        return self.identity

    @property
    def run_id(self) -> str:
        """Of an operation with {runId} in its path; its one spelling."""
        return self.path_parameters["runId"]

    async def body(self) -> bytes:
        """The whole body, which the door bounds. Raises RequestRefused when the client goes away in the middle of it."""
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
    """Cancel `scope` when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
