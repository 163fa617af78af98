"""`steadywire proxy` between programs of others: a TCP echo and Python's own HTTP server."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from simulation.cli import run

PATIENCE_S = 20.0


class Proxy:
    """A proxy that runs as a process of its own, and its control API."""

    def __init__(self, to_port: int, *options: str) -> None:
        command = [sys.executable, "-m", "simulation.cli", "proxy", "--to", f"127.0.0.1:{to_port}"]
        command += ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+) -> .*http://127\.0\.0\.1:(\d+)", line)
        assert found is not None, line + (self.process.stderr.read() if self.process.stderr else "")
        self.port, self.control_port = int(found[1]), int(found[2])

    def ask(self, method: str, address: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            text = body if isinstance(body, str) else None if body is None else json.dumps(body)
            connection.request(method, address, text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    """A TCP server that echoes its input; it uses none of our code."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(stream: socket.socket) -> None:
        with stream, contextlib.suppress(OSError):
            while data := stream.recv(65536):
                stream.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture(scope="module")
def proxy(echo_port: int) -> Iterator[Proxy]:
    started = Proxy(echo_port, "--set", "latency_s=0.001")
    yield started
    assert started.stop() == 0


def echoed(stream: socket.socket, text: bytes = b"hello") -> float:
    """Send, wait for the echo; returns the round trip in seconds."""
    began_at = time.perf_counter()
    stream.sendall(text)
    received = b""
    while len(received) < len(text):
        data = stream.recv(65536)
        assert data, "the stream ended"
        received += data
    assert received == text
    return time.perf_counter() - began_at


def test_the_latency_changes_for_a_connection_that_stands(proxy: Proxy) -> None:
    with proxy.dial() as stream:
        echoed(stream)
        status, path = proxy.ask("PATCH", "/path", {"latency_s": 0.15})
        assert (status, path["latency_s"]) == (200, 0.15)
        assert echoed(stream) >= 0.3
        assert proxy.ask("PATCH", "/path", {"loss": 0.01, "jitter_s": 0.001})[1]["latency_s"] == 0.15, "what is not named stays"
        assert proxy.ask("PUT", "/path", {"latency_s": 0.001})[1]["loss"] is None, "what is not named gets its default"
        assert proxy.ask("GET", "/path")[1]["latency_s"] == 0.001


def test_faults_begin_at_once_and_end_when_they_are_deleted(proxy: Proxy) -> None:
    with proxy.dial() as stream:
        echoed(stream)
        status, fault = proxy.ask("POST", "/faults", {"kind": "outage"})
        assert status == 201
        stream.sendall(b"hello")
        stream.settimeout(0.1)
        with pytest.raises(TimeoutError):
            stream.recv(5)
        stream.settimeout(PATIENCE_S)
        assert [each["number"] for each in proxy.ask("GET", "/faults")[1]] == [fault["number"]]
        assert proxy.ask("DELETE", f"/faults/{fault['number']}")[0] == 200
        assert stream.recv(5) == b"hello"
        assert proxy.ask("GET", "/faults")[1] == []
        proxy.ask("POST", "/faults", {"kind": "reset"})
        with pytest.raises(ConnectionResetError):
            stream.recv(5)


def test_a_refusal_is_one_of_the_kernel(proxy: Proxy) -> None:
    proxy.ask("POST", "/faults", {"kind": "refuse"})
    with pytest.raises(ConnectionRefusedError):
        proxy.dial()
    proxy.ask("DELETE", "/faults")
    with proxy.dial() as stream:
        echoed(stream)


@pytest.mark.parametrize(
    ("method", "address", "body", "status", "says"),
    [
        ("PATCH", "/path", {"latncy_s": 1}, 400, "did you mean 'latency_s'"),
        ("PATCH", "/path", {"latency_s": -1}, 400, "latency_s"),
        ("PATCH", "/path", {"latency_s": 1e9}, 400, "latency_s"),
        ("PATCH", "/path", {"loss": {"kind": "bernoulli", "probability": 2}}, 400, "probability"),
        ("PATCH", "/path", {"tcp": {"retries": 3}}, 400, "tcp.retries"),
        ("PATCH", "/path", "latency_s=1", 400, "must be JSON"),
        ("PATCH", "/path", "[" * 20_000, 400, "must be JSON"),
        ("PUT", "/path", "[]", 400, "JSON object"),
        ("PUT", "/path", "x" * 300_000, 413, ""),
        ("POST", "/faults", {"kind": "earthquake"}, 400, "outage, stall"),
        ("POST", "/faults", {"kind": "server_restart", "duration_s": 1}, 400, "outage, stall"),
        ("POST", "/faults", {"kind": "outage", "duration_s": -1}, 400, "duration_s"),
        ("POST", "/faults", {"kind": "outage", "clients": ["ada"]}, 400, "clients"),
        ("DELETE", "/faults/7777", None, 404, "no fault 7777"),
        ("DELETE", "/path", None, 405, "GET, PUT, PATCH"),
        ("GET", "/pth", None, 404, "/path"),
    ],
)
def test_bad_requests_are_answered_with_what_to_do(
    proxy: Proxy, method: str, address: str, body: object, status: int, says: str
) -> None:
    before = proxy.ask("GET", "/path")[1]
    answered, problem = proxy.ask(method, address, body)
    assert answered == status
    assert says in json.dumps(problem)
    assert proxy.ask("GET", "/path")[1] == before
    assert proxy.ask("GET", "/faults")[1] == []


def test_a_web_page_cannot_use_it(proxy: Proxy) -> None:
    assert proxy.ask("POST", "/faults", {"kind": "reset"}, Origin="http://127.0.0.1:8888")[0] == 403


def test_faults_under_way_are_limited(proxy: Proxy) -> None:
    for _ in range(100):
        assert proxy.ask("POST", "/faults", {"kind": "stall"})[0] == 201
    status, problem = proxy.ask("POST", "/faults", {"kind": "stall"})
    assert status == 409
    assert "delete some" in problem["error"]
    proxy.ask("DELETE", "/faults")


@pytest.mark.slow
def test_a_file_comes_whole_through_a_lossy_scenario(tmp_path: Path) -> None:
    """Python's own HTTP server behind the path and the faults of a scenario."""
    content = os.urandom(200_000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "bad.toml").write_text(
        'version = 1\nname = "bad"\nhorizon_s = 30\n[[groups]]\nname = "a"\nclients = 3\npath.latency_s = 0.01\n'
        'path.bandwidth_bytes_per_s = 200000\npath.loss = {kind = "bernoulli", probability = 0.02}\n'
        '[[faults]]\nkind = "outage"\nat_s = 0.5\nduration_s = 0.5\n'
        '[[faults]]\nkind = "server_restart"\nat_s = 1\nduration_s = 1\n'
    )
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: handler(*given, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = Proxy(server.server_address[1], "--scenario", str(tmp_path / "bad.toml"))
        began_at = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", "/file")
            assert connection.getresponse().read() == content
        assert time.perf_counter() - began_at >= 1.0, "200 kB at 200 kB/s"
        assert proxy.ask("GET", "/path")[1]["loss"] == {"kind": "bernoulli", "probability": 0.02}
        assert proxy.ask("GET", "/statistics")[1]["bytes_to_client"] >= len(content)
        server.shutdown()
        proxy.process.send_signal(signal.SIGINT)
        _, complaints = proxy.process.communicate(timeout=PATIENCE_S)
        assert "1 faults of bad are not of this access link" in complaints
        assert proxy.process.returncode == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--to", "9000"], "HOST:PORT"),
        (["--to", "localhost:0"], "HOST:PORT"),
        (["--to", "localhost:80", "--listen", "::1:90"], "[::1]:9000"),
        (["--to", "localhost:80", "--listen", "127.0.0.1:99999"], "65535"),
        (["--to", "localhost:80", "--listen", "192.0.2.1:0"], "192.0.2.1"),
        (["--to", "localhost:80", "--set", "latncy_s=1"], "latncy_s"),
        (["--to", "localhost:80", "--set", "latency_s=-1"], "latency_s"),
        (["--to", "localhost:80", "--set", "loss=2"], "probability"),
        (["--to", "localhost:80", "--scenario", "no-such"], "no-such"),
        (["--to", "localhost:80", "--group", "a"], "--scenario"),
        (["--to", "localhost:80", "--scenario", "elevator", "--group", "none"], "none"),
    ],
)
def test_bad_options_are_one_clear_line(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert says in printed.err
