"""TLS, over real sockets, with a certificate made for the test."""

import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from reference.client import CreateRunFailed, connect, create_run, open_tcp_stream
from reference.protocol.config import ClientConfig
from reference.protocol.states import ClientState, Transport
from tests.client.harness import RUN_ID, Server

pytestmark = pytest.mark.trio(run=trio.run)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*make, *name, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
async def port(certificate: tuple[Path, Path], nursery: trio.Nursery) -> int:
    """A server behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = Server(nursery)
    serve: Callable[[trio.abc.Stream], Awaitable[None]] = server._serve
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    return int(listeners[0].transport_listener.socket.getsockname()[1])


@pytest.mark.parametrize("scheme", ["wss", "https"])
async def test_everything_over_tls(certificate: tuple[Path, Path], port: int, scheme: str) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    open_stream = partial(open_tcp_stream, tls_context=context)
    url = f"{scheme}://localhost:{port}"
    with trio.fail_after(20):
        assert await create_run(url, RUN_ID, open_stream=open_stream) == RUN_ID
        async with connect(url, RUN_ID, open_stream=open_stream) as client:
            assert await client.publish("CHAT", {}) == 1
            await client.wait_until(ClientState.LIVE)


async def test_a_connection_whose_tls_cannot_begin_is_closed() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    with trio.fail_after(20):
        with pytest.raises(ssl.SSLError) as refused:
            await open_tcp_stream("127.0.0.1", port, tls=True, tls_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        accepted = await listener.accept()
        assert await accepted.receive_some() == b"", "not only once the error is forgotten"
    assert refused.value is not None
    await accepted.aclose()
    await listener.aclose()


async def test_polling_over_tls(certificate: tuple[Path, Path], port: int) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    attempts = 0

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("blocked by the test")
        return await open_tcp_stream(host, port, tls, tls_context=context)

    config = ClientConfig(fallback_after_failures=1, poll_interval_s=0.1)
    with trio.fail_after(20):
        async with connect(f"https://localhost:{port}", RUN_ID, open_stream=open_stream, config=config) as client:
            for number in range(1, 6):
                assert await client.publish("CHAT", {}) == number
            assert client.health.transport == Transport.POLLING
            await client.wait_until(lambda client: client.position[1] == 5)
            assert attempts <= 3, "connections are used again: one for polls, and one for a publish while a poll is under way"


async def test_a_certificate_that_nobody_signed(port: int) -> None:
    seen: list[str] = []
    with trio.fail_after(20):
        async with connect(f"wss://localhost:{port}", RUN_ID, tap=lambda now, what: seen.append(str(what))) as client:
            await client.wait_until(ClientState.WAITING)
        with pytest.raises(CreateRunFailed, match=r"self.signed certificate"):
            await create_run(f"wss://localhost:{port}")
