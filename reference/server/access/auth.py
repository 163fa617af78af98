"""Authentication: the user and the rights of a token. An `Authenticator` returns at once.

    TokenAuthenticator         signed tokens (JWT: HS256, RS256, ES256), for production
    DevelopmentAuthenticator   the token `dev:alice` is alice, `dev-admin:alice` an admin; only for a server on loopback

A token comes in the Authorization header of a request or an upgrade, or in hello, because browsers cannot set headers of an
upgrade. It is never part of a URL, because URLs are logged. An authenticator that needs another service must answer from a cache
of its own.

Each key has exactly one algorithm, which follows from the kind of the key and never from the token: a public key cannot be used
as a secret, and an unsigned token is never valid. Several keys may be active at the same time, so that keys can be rotated; a
token that names a key (`kid`) is verified with that key only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from reference.protocol.errors import CloseCode, ConfigError, RemoteError
from reference.protocol.server.connection import USER_ID_CHARACTERS_MAX, Identity
from reference.protocol.timers import ns

SECRET_BYTES_MIN = 32
"""As many bytes as a hash of HS256 has (RFC 7518, section 3.2)."""
RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""
KEYS_MAX = 16
"""Limits the cost of a token without `kid`, which is tried with every key."""

_OPTIONS = {
    # Times are checked with the server's own clock, which in a test is not the wall clock.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "require": ["sub", "exp"],
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its `kid` in tokens, if it has a name, and its algorithm."""

    algorithm: str
    material: "bytes | RSAPublicKey | EllipticCurvePublicKey" = field(repr=False)
    name: str | None = None


def secret_key(secret: bytes) -> Key:
    """A key for HS256. Raises ConfigError."""
    check_secret(secret)
    return Key("HS256", secret)


def public_key(pem: bytes, name: str | None = None) -> Key:
    """The public key in `pem`: RSA for RS256, or EC over P-256 for ES256. Raises ConfigError."""
    where = f"the public key {name!r}" if name else "the public key"
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where} is not a public key in PEM; write one with: openssl pkey -in private.pem -pubout") from error
    if isinstance(key, RSAPublicKey):
        if key.key_size < RSA_BITS_MIN:
            raise ConfigError(f"{where} has {key.key_size} bits, at least {RSA_BITS_MIN} are needed")
        return Key("RS256", key, name)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Key("ES256", key, name)
    raise ConfigError(f"{where} is neither RSA (for RS256) nor EC over P-256 (for ES256)")


def check_secret(secret: bytes) -> None:
    """Raise ConfigError unless `secret` is long enough, and not a well-known public value."""
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"the secret has {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed; "
            "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    if b"-----BEGIN" in secret:
        raise ConfigError("the secret is a key in PEM, which is no secret; a public key is given with --public-key-file")


def verify(token: str, keys: Sequence[Key], *, audience: str | None, issuer: str | None) -> dict[str, Any]:
    """The claims of `token`, if one of `keys` has signed it. Raises jwt.PyJWTError."""
    name = jwt.get_unverified_header(token).get("kid")
    fitting = [key for key in keys if name is None or key.name is None or key.name == name]
    failure: jwt.PyJWTError = jwt.InvalidKeyError("it names a key that this server does not have")
    for key in fitting:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                audience=audience,
                issuer=issuer,
                options=_OPTIONS,  # type: ignore[arg-type]  # its TypedDict lacks keys that it takes
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            failure = error  # another key may fit
        else:
            return claims
    raise failure


def read_key_file(path: Path, what: str) -> bytes:
    """The content of a file with a secret or a key, except the end of its line. Raises ConfigError."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}; create it, or name another") from error


TOKEN_CHARACTERS_MAX = 8192
"""Longer tokens are refused unread."""
Role = Literal["member", "admin"]
"""A member may enter the runs that its token lists, or all if it lists none; an admin may enter every run and use the admin
API."""
ROLES: Final = get_args(Role)


@dataclass(frozen=True, slots=True)
class Holder:
    """The user and rights in a token. Times in ns since 1970; `runs` is None for every run."""

    user_id: str
    role: Role = "member"
    runs: frozenset[str] | None = None
    expires_at: int | None = None
    issued_at: int | None = None

    def may_enter(self, run_id: str) -> bool:
        return self.role == "admin" or self.runs is None or run_id in self.runs


class Authenticator(Protocol):
    """Verifies tokens."""

    def holder(self, token: str | None, now: int) -> Holder | RemoteError:
        """The holder of `token`, or an error: TOKEN, or FORBIDDEN for a valid token without any right. `now` in ns."""


def identify(authenticator: Authenticator, token: str | None, run_id: str, now: int) -> Identity | RemoteError:
    """The identity of `token`, if it grants access to the run; else an error with TOKEN or FORBIDDEN. `now` in ns."""
    holder = authenticator.holder(token, now)
    if isinstance(holder, RemoteError):
        return holder
    if not holder.may_enter(run_id):
        return RemoteError(CloseCode.FORBIDDEN, "this token does not allow this run")
    return Identity(holder.user_id, holder.expires_at, holder.issued_at)


class TokenAuthenticator:
    """JSON Web Tokens signed with one of `keys`.

    Claims: `sub` (the user) and `exp` (seconds since 1970) are required; `nbf` is checked; `iat` is when its life began, from
    which the time of the expiry warning follows; `runs` lists the runs that the holder may enter; `role` is one of ROLES, default
    member. With `audience` or `issuer`, `aud` or `iss` must be equal to it; without `audience`, a token for a named audience is
    refused. A token is accepted up to `leeway_s` before its `nbf`, because the issuer's clock may be ahead. `iat` may lie in the
    future.
    """

    def __init__(
        self, keys: Sequence[Key], *, audience: str | None = None, issuer: str | None = None, leeway_s: float = 0.0
    ) -> None:
        if not 0 < len(keys) <= KEYS_MAX:
            raise ConfigError(f"{len(keys)} keys to verify tokens with: give 1 to {KEYS_MAX}")
        self._keys = tuple(keys)
        self._audience = audience
        self._issuer = issuer
        self._leeway_s = leeway_s

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
        if now < not_before - ns(self._leeway_s):
            return RemoteError(CloseCode.TOKEN, "the token is not valid yet")
        role = claims.get("role", "member")
        if role not in ROLES:
            return RemoteError(CloseCode.FORBIDDEN, "this token has a role that this server does not know")
        return Holder(user_id, role, _runs(claims), expires_at, issued_at)


class DevelopmentAuthenticator:
    """Accepts every token `dev:<user>` as that user. Only for servers that listen on loopback (10.8)."""

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


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token in the Authorization header, None without one. Raises RemoteError for two such headers or another scheme."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        return None
    if len(given) > 1:  # a proxy and the server might each use a different one
        raise RemoteError(CloseCode.TOKEN, f"there are {len(given)} Authorization headers; send one")
    scheme, _, token = given[0].strip().partition(b" ")
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise ValueError(f"{name} must be a time in seconds since 1970")
    return ns(value)


def _runs(claims: dict[str, Any]) -> frozenset[str] | None:
    """None: every run. A claim that is not a list of run ids allows no run."""
    runs = claims.get("runs")
    if runs is None:
        return None
    return frozenset(run.lower() for run in runs if isinstance(run, str)) if isinstance(runs, list) else frozenset()
