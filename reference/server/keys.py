"""Keys that tokens are verified with: shared secrets (HS256) and public keys (RS256, ES256).

Each key has exactly one algorithm, which comes from the kind of key and never from the token: a public key cannot be taken for a
secret, and nothing can be unsigned. Several keys may stand side by side, so that a new one can be brought in before the old one
goes; a token that names a key (`kid`) is not verified with a key of another name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from reference.protocol.errors import ConfigError

SECRET_BYTES_MIN = 32
"""As many as HS256's hash has (RFC 7518, section 3.2)."""
RSA_BITS_MIN = 2048
"""RFC 7518, section 3.3."""
KEYS_MAX = 16
"""So that a token without `kid` costs a bounded number of tries."""

_OPTIONS = {
    # Times are judged by the server's own clock, which in a test is not the wall clock.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "require": ["sub", "exp"],
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it is called in a token's `kid`, if it has a name, and the one algorithm that it is for."""

    algorithm: str
    material: "bytes | RSAPublicKey | EllipticCurvePublicKey" = field(repr=False)
    name: str | None = None


def secret_key(secret: bytes, name: str | None = None) -> Key:
    """A key for HS256. Raises ConfigError."""
    check_secret(secret)
    return Key("HS256", secret, name)


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
    """Raise ConfigError unless `secret` is long enough to be one, and is none of those that are public."""
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
            failure = error  # perhaps another key fits
        else:
            return claims
    raise failure


def read_key_file(path: Path, what: str) -> bytes:
    """What stands in a file with a secret or a key, without the end of its line. Raises ConfigError."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}; create it, or name another") from error
