"""Why a client is not connected: in an outcome, in its health, and in one line of the log."""

import contextlib
import datetime
import functools
import logging
import ssl
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reference.client import CreateRunFailed, connect, create_run, open_tcp_stream
from reference.client.transport import LostConnection, Tapped
from reference.protocol.actions import Open
from reference.protocol.client.outcomes import NotConnected, StateChanged
from reference.protocol.errors import CloseCode
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import RUN_ID, Server, problem

in_real_time = pytest.mark.trio(run=trio.run)


async def first_reason(url: str, caplog: pytest.LogCaptureFixture, **options: object) -> str:
    with trio.fail_after(10):
        async with connect(url, RUN_ID, token="dev:a", seed=1, **options) as client:  # type: ignore[arg-type]
            outcome = await anext(client)
            assert isinstance(outcome, NotConnected)
            assert client.health.last_error is not None
    assert sum("not connected" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING) >= 1
    return outcome.reason


@in_real_time
async def test_a_port_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    url = f"http://127.0.0.1:{port}"
    assert await first_reason(url, caplog) == f"no connection to {url}: Connection refused"
    with pytest.raises(CreateRunFailed, match="Connection refused"):
        await create_run(url, token="dev:a")


@in_real_time
async def test_an_input_and_all_that_comes_of_it_have_one_time() -> None:
    """A checker judges a client once each instant is over: between a loss and the new state there is no instant."""
    tapped: list[tuple[int, Tapped]] = []

    async def refuse(host: str, port: int, tls: bool) -> trio.SocketStream:
        raise ConnectionRefusedError

    with trio.fail_after(10):
        async with connect(
            "http://127.0.0.1:9", RUN_ID, token="dev:a", seed=1, open_stream=refuse, tap=lambda *what: tapped.append(what)
        ) as client:
            assert isinstance(await anext(client), NotConnected)
    for kind in (Open, StateChanged, NotConnected):
        assert any(isinstance(what, kind) for _, what in tapped), kind
    (lost_at, place), *_ = [(at, place) for place, (at, what) in enumerate(tapped) if isinstance(what, LostConnection)]
    assert len({at for at, _ in tapped[:place]}) == 1, "the first attempt and CONNECTING come of the start"
    comes_of_it = [what for at, what in tapped if at == lost_at]
    assert any(isinstance(what, StateChanged) for what in comes_of_it)
    assert any(isinstance(what, NotConnected) for what in comes_of_it)


@in_real_time
async def test_a_host_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    assert "the host name is not known" in await first_reason("http://no-such-host.invalid:1", caplog)


@in_real_time
async def test_a_certificate_that_has_expired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context, trusting = expired_certificate(tmp_path)

    async def serve(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await trio.SSLStream(stream, context, server_side=True).do_handshake()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"https://localhost:{listeners[0].socket.getsockname()[1]}"
        reason = await first_reason(url, caplog, open_stream=functools.partial(open_tcp_stream, tls_context=trusting))
        assert "the server's certificate is not valid: certificate has expired" in reason
        nursery.cancel_scope.cancel()


def expired_certificate(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context of a server with it, and that of a client who trusts its issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2020, 2, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (directory / "c.pem").write_bytes(certificate.public_bytes(encoding))
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "k.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "c.pem", directory / "k.pem")
    return context, ssl.create_default_context(cafile=str(directory / "c.pem"))


async def test_a_refusal_is_named_once_with_its_code(join: Connect, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.refuse = lambda target: problem(503, CloseCode.OVERLOADED, "this run is full", retry_after_s=1)
    async with join() as client:
        await trio.sleep(60)
        assert await anext(client) == NotConnected(CloseCode.OVERLOADED, "this run is full")
        assert client.health.last_error == "this run is full"
        server.refuse = lambda target: None
        await client.wait_until(ClientState.LIVE)
        assert client.health.last_error is None
    lines = [record.getMessage() for record in caplog.records if "not connected" in record.getMessage()]
    assert lines == [f"run {RUN_ID}: not connected, trying again: this run is full [4030]"]


async def test_why_the_websocket_failed_is_in_health_while_polling_carries_the_session(join: Connect, server: Server) -> None:
    server.refuse = lambda target: (403, {}, b"") if target.startswith("/ws/") else None
    async with join() as client:
        await client.wait_until(lambda client: client.is_carried)
        assert client.health.last_error == "HTTP status 403, from something other than a server of this protocol"


async def test_a_lost_connection_is_reported_again_after_it_was_carried(join: Connect, server: Server) -> None:
    async with join() as client:
        reasons = []
        for _ in range(2):
            await client.wait_until(ClientState.LIVE)
            server.wires[-1].cut()
            await client.wait_until(lambda client: not client.is_carried)
        await client.wait_until(ClientState.LIVE)
        with trio.move_on_after(1):
            async for outcome in client:
                reasons += [outcome] if isinstance(outcome, NotConnected) else []
        assert len(reasons) == 1, "of those that were not read only the newest waits"
