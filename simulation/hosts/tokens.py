"""Tokens in the simulator: who gives them out, and whose they are.

They are given out by a service of its own, with a clock of its own that is right, and over a network that does not fail. A token
is a text that says whose it is, since when, and until when; the server judges it by its own clock, as the shipped one does, so a
clock that jumps makes valid tokens look expired, or expired ones valid.
"""

from dataclasses import dataclass

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import Identity

ORIGIN = 1_767_225_600 * 1_000_000_000
"""What every clock shows at the beginning of a run: 2026-01-01, in ns since 1970."""
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Gives out tokens. lifetime: of each, time: how long a client needs to get one, in ns."""

    lifetime: int
    time: int

    def issue(self, client: str, now: int) -> str:
        """A token of `client`, given out `now` ns after the beginning of the run."""
        issued_at = ORIGIN + now
        return _SEPARATOR.join((client, str(issued_at), str(issued_at + self.lifetime)))


def identify(token: str, now: int) -> Identity | RemoteError:
    """Whose it is; `now` by the server's clock, in ns since 1970. An error refuses it."""
    client, issued_at, expires_at = token.rsplit(_SEPARATOR, 2)
    if now >= int(expires_at):
        return RemoteError(CloseCode.TOKEN, "the token has expired; get a new one")
    return Identity(client, int(expires_at), int(issued_at))
