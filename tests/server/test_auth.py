"""Whose token is it, and which pages may ask."""

from typing import Any

import jwt
import pytest
import trio
from trio.testing import MockClock

from reference.protocol.errors import CloseCode, ConfigError, RemoteError
from reference.protocol.server_session import Identity
from reference.server.auth import DevelopmentAuthenticator, TokenAuthenticator, bearer_token
from reference.server.origins import OriginPolicy

from .visitors import ORIGIN_NS, OTHER_RUN, RUN, open_house

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = ORIGIN_NS // 10**9


def token(secret: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "alice", "exp": NOW_S + 60} | claims, secret, algorithm=algorithm)


def code_of(text: str | None, now: int = ORIGIN_NS) -> CloseCode | None:
    identity = TokenAuthenticator(SECRET).identify(text, RUN, now)
    return identity.code if isinstance(identity, RemoteError) else None


def test_a_signed_token_names_its_user_until_it_expires() -> None:
    authenticator = TokenAuthenticator(SECRET)
    assert authenticator.identify(token(), RUN, ORIGIN_NS) == Identity("alice", (NOW_S + 60) * 10**9)
    assert code_of(token(), (NOW_S + 60) * 10**9) is CloseCode.TOKEN


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        "a.b.c",
        token(secret=b"another secret, just as long as it"),
        token(algorithm="HS512", secret=SECRET * 2),
        jwt.encode({"sub": "alice", "exp": NOW_S + 60}, key="", algorithm="none"),
        token(exp=None),
        token(exp="soon"),
        token(exp=True),
        token(exp=1e300),
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
        ({"role": "nonsense"}, CloseCode.FORBIDDEN),
        ({"role": "member"}, None),
    ],
)
def test_a_token_may_be_for_some_runs_only(claims: dict[str, Any], code: CloseCode | None) -> None:
    assert code_of(token(**claims)) is code


def test_a_secret_that_is_too_short_is_refused_with_a_way_to_make_one() -> None:
    with pytest.raises(ConfigError, match="token_urlsafe"):
        TokenAuthenticator(b"short")


def test_a_development_token_names_its_user() -> None:
    authenticator = DevelopmentAuthenticator()
    assert authenticator.identify("dev:alice", RUN, 0) == Identity("alice")
    for text in (None, "alice", "dev:", "dev:a\0b", "dev:" + "x" * 129):
        assert isinstance(authenticator.identify(text, RUN, 0), RemoteError)


def test_the_authorization_header() -> None:
    assert bearer_token(None) is None
    assert bearer_token(b"Bearer abc") == "abc"
    assert bearer_token(b"bearer  abc ") == "abc"
    for header in (b"", b"Bearer", b"Basic abc", b"Bearer \xff"):
        with pytest.raises(RemoteError):
            bearer_token(header)


async def test_a_token_ends_and_is_refreshed_in_band(autojump_clock: MockClock) -> None:
    async with open_house(secret=SECRET) as house:
        async with house.visit() as visitor:
            await visitor.hello("c", token=token(exp=NOW_S + 20))
            assert (await visitor.hear("expiring"))["inMs"] == 4000
            assert trio.current_time() == pytest.approx(16)
            await visitor.say("auth", token=token(exp=NOW_S + 40))
            assert (await visitor.hear("expiring"))["inMs"] > 0
            await visitor.say("ping", nonce=1)
            code, _ = await visitor.closed()
            assert code == 4401
            assert trio.current_time() == pytest.approx(40 + 30)  # its end, and the grace
        async with house.visit() as visitor:
            await visitor.say("hello", protocol=1, clientId="c", token=token(exp=NOW_S + 600, runs=[OTHER_RUN]))
            assert (await visitor.closed())[0] == 4403


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


def test_an_origin_on_the_list_must_be_one() -> None:
    with pytest.raises(ConfigError, match="scheme"):
        OriginPolicy(("app.example",), is_development=False)
