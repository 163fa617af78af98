"""Mistakes of a user, and the one line that reports each of them."""

import asyncio
import ssl

import pytest
import trio

from reference.client import CreateRunFailed, connect, create_run
from reference.client.addresses import Address
from reference.client.connecting import KeyedRandomSource
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.errors import CloseCode, ConfigError, LocalError
from tests.client.conftest import Connect
from tests.client.harness import RUN_ID, URL, Server, problem
from tests.client.scripted import Scripted, answers


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host", "write http://"),
        ("host:8000", "write http://"),
        ("localhost", "write http://"),
        ("", "write http://"),
        ("http://", "write http://"),
        ("http://host:port", "Port could not be cast"),
        ("http://host:99999", "out of range"),
        ("http://[::1", "Invalid IPv6"),
        ("http://" + "a" * 70, "label"),
        ("http://user:secret@host", "token="),
        ("http://host/?token=t", "token="),
        ("http://host/#x", "only scheme, host, port and path"),
    ],
)
async def test_a_url_that_names_no_server(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        await connect(url, RUN_ID).__aenter__()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=says):
        await create_run(url)


@pytest.mark.parametrize(
    ("url", "address", "host_header"),
    [
        ("http://host", Address("host", 80, False), "host"),
        ("ws://host:8000/", Address("host", 8000, False), "host:8000"),
        ("https://host", Address("host", 443, True), "host"),
        ("WSS://Host:444/base/path/", Address("host", 444, True, "/base/path"), "host:444"),
        ("http://[::1]:8000", Address("::1", 8000, False), "[::1]:8000"),
        ("http://bücher.example", Address("bücher.example", 80, False), "xn--bcher-kva.example"),
        ("http://host/a b", Address("host", 80, False, "/a%20b"), "host"),
    ],
)
def test_what_a_url_means(url: str, address: Address, host_header: str) -> None:
    assert Address.parse(url) == address
    assert address.host_header == host_header


def test_the_path_of_a_run() -> None:
    address = Address.parse("https://host/base")
    assert address.run_path("a/b ?") == "/base/api/runs/a%2Fb%20%3F"
    assert address.run_path("x", websocket=True) == "/base/ws/runs/x"
    assert str(address) == "https://host/base"


async def test_a_run_that_does_not_exist(join: Connect, server: Server) -> None:
    server.refuse = lambda target: problem(404, CloseCode.NO_SUCH_RUN, "no run garbage") if "garbage" in target else None
    async with connect(URL, "garbage", open_stream=server.open_stream) as client:
        assert [outcome async for outcome in client] == [SessionEnded(CloseCode.NO_SUCH_RUN, "no run garbage")]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"run_id": ""}, "run_id is empty"),
        ({"outcomes_waiting_max": 0}, "must be >= 1"),
        ({"drain_s": -1.0}, "must be >= 0"),
        ({"drain_s": float("inf")}, "finite"),
        ({"seed": 1, "random_source": KeyedRandomSource(1)}, "not both"),
    ],
)
async def test_parameters_that_cannot_work(more: dict[str, object], says: str) -> None:
    parameters = {"run_id": RUN_ID} | more
    with pytest.raises(ConfigError, match=says):
        await connect(URL, **parameters).__aenter__()  # type: ignore[arg-type]


def test_outside_of_trio() -> None:
    async def main() -> None:
        with pytest.raises(LocalError, match=r"trio\.run"):
            await connect(URL, RUN_ID).__aenter__()
        with pytest.raises(LocalError, match=r"trio\.run"):
            await create_run(URL)

    asyncio.run(main())


async def test_create_run(server: Server) -> None:
    run_id = await create_run(URL, open_stream=server.open_stream)
    assert len(run_id) == 36
    assert await create_run(URL, "mine", "t1", open_stream=server.open_stream) == "mine"
    assert server.requests == [("PUT", f"/api/runs/{run_id}"), ("PUT", "/api/runs/mine")]


async def test_create_run_refused(server: Server, nursery: trio.Nursery) -> None:
    with pytest.raises(CreateRunFailed, match="no such token") as caught:
        await create_run(URL, token="garbage", open_stream=server.open_stream)
    assert caught.value.code == CloseCode.TOKEN
    server.is_down = True
    with pytest.raises(CreateRunFailed, match="refused by the test") as caught:
        await create_run(URL, open_stream=server.open_stream)
    assert caught.value.code is None
    with pytest.raises(CreateRunFailed, match="did not answer within 10 s"):
        await create_run(URL, open_stream=Scripted(nursery, answers(b"", then_hangs=True)).open_stream)
    with pytest.raises(CreateRunFailed, match="HTTP status 500"):
        await create_run(URL, open_stream=Scripted(nursery, answers(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")).open_stream)


async def test_a_name_that_cannot_be_resolved_is_a_failed_attempt(join: Connect) -> None:
    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        raise OSError("no such host")

    async with join(open_stream=open_stream) as client:
        await trio.sleep(100)
        assert client.state.value == "polling"


async def test_tls_that_fails_is_a_failed_attempt(join: Connect) -> None:
    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        raise trio.BrokenResourceError from ssl.SSLCertVerificationError("self-signed certificate")

    messages: list[str] = []
    async with join(open_stream=open_stream, tap=lambda now, what: messages.append(str(what))) as client:
        await trio.sleep(30)
        assert client.state.value == "polling"
    assert any("self-signed certificate" in message for message in messages)


def test_draws_are_a_function_of_the_seed() -> None:
    random_source = [KeyedRandomSource(7).uniform("backoff", index) for index in range(1000)]
    assert random_source == [KeyedRandomSource(7).uniform("backoff", index) for index in range(1000)]
    assert random_source != [KeyedRandomSource(-7).uniform("backoff", index) for index in range(1000)]
    assert random_source != [KeyedRandomSource().uniform("backoff", index) for index in range(1000)]
    assert all(0 <= draw < 1 for draw in random_source)
    assert 450 < sum(draw < 0.5 for draw in random_source) < 550
