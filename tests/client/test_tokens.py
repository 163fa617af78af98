"""Tokens: in the header, refreshed in band, refused."""

import pytest
import trio

from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, ConfigError
from reference.protocol.server.connection import Identity
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server


async def test_a_refused_token_ends_the_session_when_nobody_can_get_another(join: Connect) -> None:
    async with join(token="garbage") as client:
        outcomes = [outcome async for outcome in client]
    assert outcomes == [SessionEnded(CloseCode.TOKEN, "no such token")]


async def test_a_refused_token_is_refreshed(join: Connect, server: Server) -> None:
    asked = 0

    async def refresh() -> str:
        nonlocal asked
        asked += 1
        await trio.sleep(3)
        return "t1"

    async with join(token="old", refresh_token=refresh) as client:
        assert await client.publish("CHAT", {}) == 1
        assert asked == 1
        assert 3 <= trio.current_time() < 5


async def test_a_token_is_renewed_on_the_connection_that_stands(join: Connect, server: Server) -> None:
    def fresh() -> Identity:
        return Identity("ada", expires_at=server.now() + 100 * 10**9)

    server.tokens["t0"] = fresh()
    tokens = 0

    async def refresh() -> str:
        nonlocal tokens
        tokens += 1
        server.tokens[f"t{tokens}"] = fresh()
        return f"t{tokens}"

    async with join(token="t0", refresh_token=refresh) as client:
        await client.wait_until(ClientState.LIVE)
        await trio.sleep(500)
        assert client.state is ClientState.LIVE
        assert tokens == 6, "at 80 s, and every 80 s from then on"
        assert len(server.wires) == 1


async def test_a_token_that_never_comes(join: Connect) -> None:
    async with join(token="old", refresh_token=trio.sleep_forever) as client:
        await client.wait_until(ClientState.REFRESHING)
        outcomes = [outcome async for outcome in client]
        assert outcomes[-1] == SessionEnded(CloseCode.TOKEN, "the application supplied no token in time")
        assert trio.current_time() == pytest.approx(60, abs=0.1)


async def test_what_refresh_token_raises_comes_out_of_the_block_as_it_is(join: Connect) -> None:
    async def refresh() -> str:
        raise OSError("no token server")

    async def use() -> None:
        async with join(token="old", refresh_token=refresh):
            await trio.sleep_forever()

    with pytest.raises(OSError, match="no token server"):
        await use()


@pytest.mark.parametrize("token", ["two words", "", "tök", "line\nfeed"])
async def test_a_token_that_no_header_can_carry(join: Connect, token: str) -> None:
    with pytest.raises(ConfigError, match="visible ASCII"):
        await join(token=token).__aenter__()


async def test_a_token_that_is_too_long_for_every_server(join: Connect) -> None:
    with pytest.raises(ConfigError, match="8193 characters; the limit is 8192"):
        await join(token="t" * 8193).__aenter__()


async def test_a_token_that_the_application_sets(join: Connect, server: Server) -> None:
    server.tokens["t0"] = Identity("ada", expires_at=server.now() + 100 * 10**9)
    server.tokens["t1"] = Identity("ada", expires_at=server.now() + 1000 * 10**9)
    async with join(token="t0") as client:
        await client.wait_until(ClientState.LIVE)
        with pytest.raises(ConfigError, match="visible ASCII"):
            client.set_token("two words")
        client.set_token("t1")
        await trio.sleep(500)
        assert client.state is ClientState.LIVE
        assert len(server.wires) == 1


async def test_refreshing_without_someone_to_ask(join: Connect) -> None:
    with pytest.raises(ConfigError, match="no refresh_token to call"):
        await join(config=ClientConfig(refreshes_token=True)).__aenter__()


async def test_an_application_without_a_newer_token_is_asked_rarely(join: Connect, server: Server) -> None:
    """Ten minutes before its end the application still gives the cached token, and a new one only 15 s before."""
    ends_at = server.now() + 600 * 10**9
    server.tokens["old"] = Identity("ada", issued_at=ends_at - 3600 * 10**9, expires_at=ends_at)
    asked = 0

    async def refresh() -> str:
        nonlocal asked
        asked += 1
        assert asked < 100, "as fast as the line allows"
        if server.now() < ends_at - 15 * 10**9:
            return "old"
        server.tokens["new"] = Identity("ada", expires_at=server.now() + 3600 * 10**9)
        return "new"

    async with join(token="old", refresh_token=refresh) as client:
        await client.wait_until(ClientState.LIVE)
        await trio.sleep(590)
        assert asked <= 8, "after half of what is left, each time"
        await trio.sleep(120)
        assert len(server.wires) == 1, "and the new one came in time"
        assert client.state is ClientState.LIVE
