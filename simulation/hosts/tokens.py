"""Tokens in the simulator: their issuer, and their check by the server.

A separate service issues them, with a correct clock, over a network that does not fail. A token is a text with its user, start
and end; the server checks it with its own clock, like the real one, so a clock that jumps makes valid tokens look expired, or
expired ones valid.
"""

from dataclasses import dataclass

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import Identity

ORIGIN = 1_767_225_600 * 1_000_000_000
"""The wall clock at the beginning of a run: 2026-01-01, in ns since 1970."""
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Issues tokens. lifetime: of each, time: how long a client needs to get one, in ns."""

    lifetime: int
    time: int

    def issue(self, client: str, now: int) -> str:
        """A token of `client`, issued `now` ns after the beginning of the run."""
        issued_at = ORIGIN + now
        return _SEPARATOR.join((client, str(issued_at), str(issued_at + self.lifetime)))


def identify(token: str, now: int) -> Identity | RemoteError:
    """The identity of a token; `now` by the server's clock, in ns since 1970. An error refuses it."""
    client, issued_at, expires_at = token.rsplit(_SEPARATOR, 2)
    if now >= int(expires_at):
        return RemoteError(CloseCode.TOKEN, "the token has expired; get a new one")
    return Identity(client, int(expires_at), int(issued_at))
