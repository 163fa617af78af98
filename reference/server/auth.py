"""Whose token is it? An `Authenticator` answers, without waiting, in the middle of the pump.

    TokenAuthenticator         signed tokens (JWT: HS256, RS256, ES256), for everyone
    DevelopmentAuthenticator   the token `dev:alice` is alice, `dev-admin:alice` an admin; for a server that only its own machine
                               can reach

A token comes in the Authorization header of a request or an upgrade, or in hello, for browsers cannot set the header of an
upgrade. It is never in an address, since addresses end up in logs. Whoever has to ask another service whose token it is answers
from a cache of its own: nothing waits here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

import jwt

from reference.protocol.errors import CloseCode, ConfigError, RemoteError
from reference.protocol.server_session import USER_ID_CHARACTERS_MAX, Identity
from reference.protocol.timers import ns
from reference.server.keys import KEYS_MAX, Key, verify

TOKEN_CHARACTERS_MAX = 8192
Role = Literal["member", "admin"]
"""A member may enter the runs that its token lists, or all if it lists none; an admin may enter every run, and see them all."""
ROLES: Final = get_args(Role)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token says of its holder. Times in ns since 1970; `runs` is None for every run."""

    user_id: str
    role: Role = "member"
    runs: frozenset[str] | None = None
    expires_at: int | None = None
    issued_at: int | None = None

    def may_enter(self, run_id: str) -> bool:
        return self.role == "admin" or self.runs is None or run_id in self.runs


class Authenticator(Protocol):
    """Judges tokens."""

    def holder(self, token: str | None, now: int) -> Holder | RemoteError:
        """Who holds `token`, or an error with TOKEN (or FORBIDDEN, if it is good and gives no right). `now` in ns."""


def identify(authenticator: Authenticator, token: str | None, run_id: str, now: int) -> Identity | RemoteError:
    """Whose `token` it is, if its holder may enter the run; else an error with TOKEN or FORBIDDEN. `now` in ns."""
    holder = authenticator.holder(token, now)
    if isinstance(holder, RemoteError):
        return holder
    if not holder.may_enter(run_id):
        return RemoteError(CloseCode.FORBIDDEN, "this token does not allow this run")
    return Identity(holder.user_id, holder.expires_at, holder.issued_at)


class TokenAuthenticator:
    """JSON Web Tokens signed with one of `keys`.

    Claims: `sub` (the user) and `exp` (seconds since 1970) are required; `nbf` is kept; `iat` is when its life began, of which a
    client is warned near the end; `runs` lists the runs that the holder may enter; `role` is one of ROLES, member without it.
    With `audience` or `issuer`, `aud` or `iss` must be that; without, a token for a named audience is refused.
    """

    def __init__(self, keys: Sequence[Key], *, audience: str | None = None, issuer: str | None = None) -> None:
        if not 0 < len(keys) <= KEYS_MAX:
            raise ConfigError(f"{len(keys)} keys to verify tokens with: give 1 to {KEYS_MAX}")
        self._keys = tuple(keys)
        self._audience = audience
        self._issuer = issuer

    def holder(self, token: str | None, now: int) -> Holder | RemoteError:
        """As Authenticator.holder."""
        if token is None:
            return RemoteError(CloseCode.TOKEN, "a token is needed: in the Authorization header as a Bearer token, or in hello")
        try:
            if len(token) > TOKEN_CHARACTERS_MAX:
                raise ValueError(f"it has more than {TOKEN_CHARACTERS_MAX} characters")
            claims = verify(token, self._keys, audience=self._audience, issuer=self._issuer)
            user_id = _user(claims.get("sub"))
            expires_at = _time(claims, "exp")
            not_before = _time(claims, "nbf") if "nbf" in claims else 0
            issued_at = _time(claims, "iat") if "iat" in claims else None
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            return RemoteError(CloseCode.TOKEN, f"this token is not accepted: {error}")
        if now >= expires_at:
            return RemoteError(CloseCode.TOKEN, "the token has expired; get a new one")
        if now < not_before:
            return RemoteError(CloseCode.TOKEN, "the token is not valid yet")
        role = claims.get("role", "member")
        if role not in ROLES:
            return RemoteError(CloseCode.FORBIDDEN, "this token has a role that this server does not know")
        return Holder(user_id, role, _runs(claims), expires_at, issued_at)


class DevelopmentAuthenticator:
    """Believes everyone: the token `dev:<user>` names the user. Only for servers that listen on loopback."""

    _ROLES: Final[dict[str, Role]] = {"dev": "member", "dev-admin": "admin"}

    def holder(self, token: str | None, now: int) -> Holder | RemoteError:
        """As Authenticator.holder."""
        prefix, _, user = (token or "").partition(":")
        role = self._ROLES.get(prefix)
        if role is None:
            return RemoteError(CloseCode.TOKEN, "a token is needed: this development server takes dev:<user>, such as dev:alice")
        try:
            return Holder(_user(user), role)
        except ValueError as error:
            return RemoteError(CloseCode.TOKEN, f"this token is not accepted: {error}")


def make_token(
    secret: bytes, user_id: str, *, role: Role = "member", runs: Sequence[str] | None = None, issued_at_s: int, ttl_s: int
) -> str:
    """A token signed with HS256. Raises ConfigError."""
    try:
        _user(user_id)
    except ValueError as error:
        raise ConfigError(f"user = {user_id!r}: {error}") from error
    claims: dict[str, Any] = {"sub": user_id, "iat": issued_at_s, "exp": issued_at_s + ttl_s, "role": role}
    if runs is not None:
        claims["runs"] = list(runs)
    return jwt.encode(claims, secret, algorithm="HS256")


def bearer_token(header: bytes | None) -> str | None:
    """The token in an Authorization header, None without the header. Raises RemoteError for another kind of header."""
    if header is None:
        return None
    scheme, _, token = header.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise RemoteError(CloseCode.TOKEN, "the Authorization header must be: Bearer <token>")
    return token.decode()


def _user(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= USER_ID_CHARACTERS_MAX or not value.isprintable():
        raise ValueError(f"its user must be 1 to {USER_ID_CHARACTERS_MAX} printable characters")
    return value


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value < 2**40:
        raise ValueError(f"{name} must be a time in seconds since 1970")
    return ns(value)


def _runs(claims: dict[str, Any]) -> frozenset[str] | None:
    """None: every run. What is no list of run ids allows none."""
    runs = claims.get("runs")
    if runs is None:
        return None
    return frozenset(run.lower() for run in runs if isinstance(run, str)) if isinstance(runs, list) else frozenset()
