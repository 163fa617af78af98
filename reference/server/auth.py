"""Whose token is it? An `Authenticator` answers, without waiting, in the middle of the pump.

    TokenAuthenticator         signed tokens (JWT, HS256), for everyone
    DevelopmentAuthenticator   the token `dev:alice` is alice; for a server that only its own machine can reach

A token comes in the Authorization header of a request or an upgrade, or in hello, for browsers cannot set the header of an
upgrade. It is never in an address, since addresses end up in logs. Whoever has to ask another service whose token it is answers
from a cache of its own: nothing waits here.
"""

import math
from typing import Any, Final, Protocol

import jwt

from reference.protocol.errors import CloseCode, ConfigError, RemoteError
from reference.protocol.server_session import USER_ID_CHARACTERS_MAX, Identity
from reference.protocol.timers import ns

SECRET_BYTES_MIN = 32
"""As many as HS256's hash has (RFC 7518, section 3.2)."""
TOKEN_CHARACTERS_MAX = 8192
ROLES: Final = ("member", "admin")
"""A member may enter the runs that its token lists, or all if it lists none; an admin may enter every run."""


class Authenticator(Protocol):
    """Judges tokens."""

    def identify(self, token: str | None, run_id: str, now: int) -> Identity | RemoteError:
        """Whose `token` it is, if its holder may enter the run; else an error with TOKEN or FORBIDDEN. `now` in ns."""


class TokenAuthenticator:
    """JSON Web Tokens signed with HS256 and one secret.

    Claims: `sub` (the user) and `exp` (seconds since 1970) are required; `nbf` is kept; `iat` is when
    its life began, of which a client is warned near the end; `runs` lists the runs that the holder may
    enter; `role` is one of ROLES, member without it.
    """

    def __init__(self, secret: bytes) -> None:
        check_secret(secret)
        self._secret = secret

    def identify(self, token: str | None, run_id: str, now: int) -> Identity | RemoteError:
        """As Authenticator.identify."""
        if token is None:
            return RemoteError(CloseCode.TOKEN, "a token is needed: in the Authorization header as a Bearer token, or in hello")
        try:
            claims = self._claims(token)
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
        if not _may_enter(claims, run_id):
            return RemoteError(CloseCode.FORBIDDEN, "this token does not allow this run")
        return Identity(user_id, expires_at, issued_at)

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ValueError(f"it has more than {TOKEN_CHARACTERS_MAX} characters")
        # Times are judged by the server's own clock, which in a test is not the wall clock.
        mine = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["sub", "exp"]}
        claims: dict[str, Any] = jwt.decode(token, self._secret, algorithms=["HS256"], options=mine)  # type: ignore[arg-type]  # its TypedDict lacks keys it takes
        return claims


class DevelopmentAuthenticator:
    """Believes everyone: the token `dev:<user>` names the user. Only for servers that listen on loopback."""

    _PREFIX = "dev:"

    def identify(self, token: str | None, run_id: str, now: int) -> Identity | RemoteError:
        """As Authenticator.identify."""
        if token is None or not token.startswith(self._PREFIX):
            return RemoteError(CloseCode.TOKEN, "a token is needed: this development server takes dev:<user>, such as dev:alice")
        try:
            return Identity(_user(token.removeprefix(self._PREFIX)))
        except ValueError as error:
            return RemoteError(CloseCode.TOKEN, f"this token is not accepted: {error}")


def authenticator_for(secret: bytes | None) -> Authenticator:
    """The authenticator of a server with that secret, or without one."""
    return DevelopmentAuthenticator() if secret is None else TokenAuthenticator(secret)


def check_secret(secret: bytes) -> None:
    """Raise ConfigError unless `secret` is long enough to be one."""
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"the secret has {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed; "
            "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )


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


def _may_enter(claims: dict[str, Any], run_id: str) -> bool:
    role, runs = claims.get("role", "member"), claims.get("runs")
    if role not in ROLES:
        return False
    if role == "admin" or runs is None:
        return True
    return isinstance(runs, list) and any(isinstance(run, str) and run.lower() == run_id for run in runs)
