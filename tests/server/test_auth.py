"""Authentication: the user of a token, and the allowed origins."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trio.testing import MockClock

from reference.protocol.errors import CloseCode, ConfigError, RemoteError
from reference.protocol.server.connection import Identity
from reference.server.access.auth import (
    DevelopmentAuthenticator,
    Holder,
    Key,
    TokenAuthenticator,
    bearer_token,
    identify,
    make_token,
    public_key,
    secret_key,
)
from reference.server.access.origins import OriginPolicy
from reference.server.clock import ServerClock
from reference.server.settings import ServerSettings

from .running_server import ORIGIN_NS, OTHER_RUN, RUN, running_server

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = ORIGIN_NS // 10**9


def token(secret: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": NOW_S + 60} | claims, secret, algorithm=algorithm)


def code_of(text: str | None, now: int = ORIGIN_NS) -> CloseCode | None:
    identity = identify(TokenAuthenticator([secret_key(SECRET)]), text, RUN, now)
    return identity.code if isinstance(identity, RemoteError) else None


def test_a_signed_token_names_its_user_until_it_expires() -> None:
    authenticator = TokenAuthenticator([secret_key(SECRET)])
    assert identify(authenticator, token(), RUN, ORIGIN_NS) == Identity("alice", (NOW_S + 60) * 10**9)
    assert code_of(token(), (NOW_S + 60) * 10**9) is CloseCode.TOKEN


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "garbage",
        "a.b.c",
        token(secret=b"another secret, just as long as it"),
        token(algorithm="HS512", secret=SECRET * 2),
        jwt.encode({"sub": "alice", "exp": NOW_S + 60}, key="", algorithm="none"),
        token(exp=None),
        token(exp="soon"),
        token(exp=True),
        token(exp=1e300),
        token(exp=10**400),
        token(exp=float("nan")),
        token(exp=NOW_S - 1),
        token(nbf=NOW_S + 1),
        token(sub=""),
        token(sub="x" * 129),
        token(sub="a\nb"),
        token(aud="another service"),
        "x" * 9000,
    ],
)
def test_a_token_that_is_not_right_is_refused(text: str | None) -> None:
    assert code_of(text) is CloseCode.TOKEN


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"runs": [RUN]}, None),
        ({"runs": [RUN.upper()]}, None),
        ({"runs": [OTHER_RUN]}, CloseCode.FORBIDDEN),
        ({"runs": []}, CloseCode.FORBIDDEN),
        ({"runs": RUN}, CloseCode.FORBIDDEN),
        ({"runs": [OTHER_RUN], "role": "admin"}, None),
        ({"role": "garbage"}, CloseCode.FORBIDDEN),
        ({"role": "member"}, None),
    ],
)
def test_a_token_may_be_for_some_runs_only(claims: dict[str, Any], code: CloseCode | None) -> None:
    assert code_of(token(**claims)) is code


def test_a_secret_that_is_too_short_is_refused_with_a_way_to_make_one() -> None:
    with pytest.raises(ConfigError, match="token_urlsafe"):
        secret_key(b"short")


def test_a_development_token_names_its_user() -> None:
    authenticator = DevelopmentAuthenticator()
    assert identify(authenticator, "dev:alice", RUN, 0) == Identity("alice")
    for text in (None, "alice", "dev:", "dev:a\0b", "dev:" + "x" * 129):
        assert isinstance(identify(authenticator, text, RUN, 0), RemoteError)


def test_the_authorization_header() -> None:
    assert bearer_token([]) is None
    assert bearer_token([(b"host", b"x"), (b"authorization", b"Bearer abc")]) == "abc"
    assert bearer_token([(b"authorization", b"bearer  abc ")]) == "abc"
    for header in (b"", b"Bearer", b"Basic abc", b"Bearer \xff"):
        with pytest.raises(RemoteError):
            bearer_token([(b"authorization", header)])


async def test_two_authorization_headers_are_refused(autojump_clock: MockClock) -> None:
    """A proxy and the server might each believe another one."""
    twice = "Authorization: Bearer dev:alice\r\nAuthorization: Bearer dev:mallory\r\n"
    async with running_server() as running:
        answer = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll", token=None, headers=twice)
    assert (answer.status, answer.problem["code"]) == (401, 4401)


async def test_a_token_ends_and_is_refreshed_in_band(autojump_clock: MockClock) -> None:
    async with running_server(secret=SECRET) as running:
        async with running.connect() as client:
            await client.hello("c", token=token(exp=NOW_S + 20))
            assert (await client.receive("expiring"))["inMs"] == 4000
            assert trio.current_time() == pytest.approx(16)
            await client.send("auth", token=token(exp=NOW_S + 40))
            assert (await client.receive("expiring"))["inMs"] > 0
            await client.send("ping", nonce=1)
            code, _ = await client.closed()
            assert code == 4401
            assert trio.current_time() == pytest.approx(40 + 30)  # its end, and the grace
        async with running.connect() as client:
            await client.send("hello", protocol=1, clientId="c", token=token(exp=NOW_S + 600, runs=[OTHER_RUN]))
            assert (await client.closed())[0] == 4403


@pytest.mark.parametrize(
    ("origin", "host", "development", "production"),
    [
        ("https://app.example", "chat.example", True, True),
        ("https://APP.example", "chat.example", True, True),
        ("https://chat.example", "chat.example", False, True),
        ("https://chat.example:8443", "chat.example", False, False),
        ("http://localhost:3000", "chat.example", True, True),
        ("http://127.0.0.1:8888", "chat.example", True, True),
        ("http://[::1]:8888", "chat.example", True, True),
        ("http://a.localhost", "chat.example", True, True),
        ("https://evil.example", "chat.example", False, False),
        ("https://localhost.evil.example", "chat.example", False, False),
        ("https://app.example.evil.example", "chat.example", False, False),
        ("https://app.example@evil.example", "chat.example", False, False),
        ("null", "null", False, False),
        ("", "", False, False),
        ("file://", "chat.example", False, False),
    ],
)
def test_origins(origin: str, host: str, development: bool, production: bool) -> None:
    for is_development, allowed in ((True, development), (False, production)):
        policy = OriginPolicy(("https://app.example",), is_development=is_development)
        assert policy.allows(origin, host) is allowed


@pytest.mark.parametrize(
    "origin",
    ["app.example", "https://app.example/", "https://*.example", "*", "https://app.example:port", "https://a..b", "https://[x"],
)
def test_an_origin_that_would_match_nothing_is_refused(origin: str) -> None:
    """It was taken without a word, and every browser got 403."""
    with pytest.raises(ConfigError, match=r"allowed origin"):
        OriginPolicy((origin,), is_development=False)


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("HTTPS://App.Example:8443", "https://app.example:8443"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_an_origin_is_matched_as_browsers_write_it(allowed: str, sent: str) -> None:
    policy = OriginPolicy((allowed,), is_development=False)
    assert policy.allows(sent, "chat.example")
    assert not policy.allows(sent + "0", "chat.example")


def test_the_clock_of_an_issuer_may_be_ahead() -> None:
    """With nbf set to its own time, as many issuers do, a client was refused for good."""
    authenticator = ServerSettings(secret=SECRET).authenticator()
    assert isinstance(identify(authenticator, token(nbf=NOW_S + 9, iat=NOW_S + 9), RUN, ORIGIN_NS), Identity)
    assert isinstance(identify(authenticator, token(nbf=NOW_S + 11), RUN, ORIGIN_NS), RemoteError)
    exact = ServerSettings(secret=SECRET, token_leeway_s=0).authenticator()
    assert isinstance(identify(exact, token(nbf=NOW_S + 1), RUN, ORIGIN_NS), RemoteError)


async def test_tokens_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was started before its clock was set right, or that slept, judged tokens by the time of its start."""
    clock = ServerClock()
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr("reference.server.clock.time.time_ns", lambda: later)
    assert clock.wall() == later
    assert clock.now() < later - 3000 * 10**9


# Keys.

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem_of(private: Any) -> bytes:
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(pem, bytes)
    return pem


def signed(key: Any, algorithm: str, kid: str | None = None) -> str:
    headers = None if kid is None else {"kid": kid}
    return jwt.encode({"sub": "alice", "exp": NOW_S + 60}, key, algorithm=algorithm, headers=headers)


def user_of(keys: list[Key], text: str, **options: Any) -> str | None:
    holder = TokenAuthenticator(keys, **options).holder(text, ORIGIN_NS)
    return None if isinstance(holder, RemoteError) else holder.user_id


def test_public_keys_verify_what_their_private_keys_signed() -> None:
    keys = [public_key(pem_of(RSA)), public_key(pem_of(EC))]
    assert [key.algorithm for key in keys] == ["RS256", "ES256"]
    assert user_of(keys, signed(RSA, "RS256")) == user_of(keys, signed(EC, "ES256")) == "alice"
    assert user_of(keys[:1], signed(EC, "ES256")) is None
    assert user_of(keys[1:], signed(RSA, "RS256")) is None
    stranger = rsa.generate_private_key(65537, 2048)
    assert user_of(keys, signed(stranger, "RS256")) is None
    assert user_of(keys, signed(RSA, "RS512")) is None
    assert user_of(keys, signed(RSA, "PS256")) is None


@pytest.mark.parametrize("private", [RSA, EC], ids=["RSA", "EC"])
def test_a_public_key_is_never_taken_for_a_secret(private: Any) -> None:
    """The classic confusion: HS256 with the public key's text, which everyone knows, as the secret."""
    pem = pem_of(private)
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "alice", "exp": NOW_S + 60}).encode()).rstrip(b"=")
    for secret in (pem, pem.strip()):
        signature = base64.urlsafe_b64encode(hmac.digest(secret, header + b"." + claims, "sha256")).rstrip(b"=")
        forged = b".".join((header, claims, signature)).decode()
        assert user_of([public_key(pem)], forged) is None
        assert user_of([public_key(pem), secret_key(SECRET)], forged) is None
    with pytest.raises(ConfigError, match="public-key-file"):
        secret_key(pem)


def test_a_new_key_is_brought_in_beside_the_old_one() -> None:
    old, new = rsa.generate_private_key(65537, 2048), RSA
    keys = [public_key(pem_of(old), "2025"), public_key(pem_of(new), "2026")]
    assert user_of(keys, signed(old, "RS256", "2025")) == user_of(keys, signed(new, "RS256", "2026")) == "alice"
    assert user_of(keys, signed(new, "RS256")) == "alice", "a token need not name its key"
    assert user_of(keys, signed(new, "RS256", "2025")) is None, "but what it names must be true"
    assert user_of(keys, signed(new, "RS256", "2027")) is None
    assert user_of(keys[1:], signed(old, "RS256", "2025")) is None
    secrets = [secret_key(SECRET), secret_key(SECRET[::-1])]
    assert user_of(secrets, token()) == user_of(secrets, token(secret=SECRET[::-1])) == "alice"


def test_a_key_that_cannot_be_one_is_refused_in_one_line() -> None:
    small = pem_of(rsa.generate_private_key(65537, 1024))
    other = pem_of(ec.generate_private_key(ec.SECP384R1()))
    for pem, words in ((small, "2048"), (other, "P-256"), (b"garbage", "openssl"), (b"", "openssl")):
        with pytest.raises(ConfigError, match=words) as caught:
            public_key(pem, "mine")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="1 to 16"):
        TokenAuthenticator([])


def test_audience_and_issuer() -> None:
    keys = [secret_key(SECRET)]
    assert user_of(keys, token(aud="us"), audience="us") == "alice"
    assert user_of(keys, token(aud="them"), audience="us") is None
    assert user_of(keys, token(), audience="us") is None
    assert user_of(keys, token(iss="idp"), issuer="idp") == "alice"
    assert user_of(keys, token(iss="other"), issuer="idp") is None
    assert user_of(keys, token(), issuer="idp") is None


def test_a_token_that_was_made_here_is_taken_here() -> None:
    made = make_token(SECRET, "alice", role="admin", runs=[RUN], issued_at_s=NOW_S, ttl_s=60)
    holder = TokenAuthenticator([secret_key(SECRET)]).holder(made, ORIGIN_NS)
    assert holder == Holder("alice", "admin", frozenset({RUN}), (NOW_S + 60) * 10**9, NOW_S * 10**9)
    with pytest.raises(ConfigError, match="printable"):
        make_token(SECRET, "", issued_at_s=NOW_S, ttl_s=60)


def test_roles_of_development_tokens() -> None:
    assert DevelopmentAuthenticator().holder("dev-admin:alice", 0) == Holder("alice", "admin")
    assert DevelopmentAuthenticator().holder("dev:alice", 0) == Holder("alice", "member")


async def test_a_refresh_may_not_change_the_user_nor_lose_the_run(autojump_clock: MockClock) -> None:
    async with running_server(secret=SECRET) as running:
        for claims, code in (({"sub": "bob"}, 4403), ({"runs": [OTHER_RUN]}, 4403), ({"exp": NOW_S - 1}, 4401)):
            async with running.connect() as client:
                await client.hello("c", token=token(exp=NOW_S + 600, runs=[RUN]))
                await client.send("auth", token=token(**{"exp": NOW_S + 700} | claims))
                assert (await client.closed())[0] == code
        async with running.connect() as client:
            await client.hello("c", token=token(exp=NOW_S + 600, runs=[RUN]))
            await client.send("auth", token=token(exp=NOW_S + 700, runs=[RUN, OTHER_RUN]))
            await client.send("ping", nonce=1)
            await client.receive("pong")
