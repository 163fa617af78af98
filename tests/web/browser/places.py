"""Where the browser tests take place: a server for the page, a steadywire server process, and a line between that can be cut.

The page comes from another server than its client talks to, so it can be loaded again while the line to that one is cut.
"""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_MS = 30_000
MAIN = "from simulation.cli import main; main()"
POLICY = (
    "default-src 'none'; img-src data:; script-src 'self'; worker-src 'self'; connect-src http://127.0.0.1:* ws://127.0.0.1:*"
)
QUICK = {
    "connectTimeoutS": 20,  # of a busy machine
    "pingIntervalS": 1,
    "pingTimeoutS": 2,
    "steadyAfterS": 0.3,
    "firstSpreadS": 0.05,
    "fallbackAfterFailures": 2,
    "pollIntervalS": 0.2,
    "probeIntervalS": 0.4,
    "probeIntervalMaxS": 0.8,
}
_LISTENS = re.compile(r"listens on (http://\S+)")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing resets


class Line:
    """A TCP proxy in front of a port. While it is cut nothing is open, and what is new is reset."""

    def __init__(self, port: int) -> None:
        self._onward = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                is_cut = self._is_cut
            if is_cut:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._onward))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._carry_both, args=(near, far), daemon=True).start()

    def _carry_both(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
        back.start()
        self._carry(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class _Pages(SimpleHTTPRequestHandler):
    """`/web/...` from reference/web, all else from this folder."""

    def translate_path(self, path: str) -> str:
        name = path.partition("?")[0].lstrip("/")
        assert ".." not in name, "a test asks for what it has"
        return str(ROOT / "reference" / name if name.startswith("web/") else HERE / name)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-cache")  # "no-store" would keep a page out of the back/forward cache
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class has it so
        pass


@contextmanager
def pages() -> Iterator[str]:
    """Serve the page; yields its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def steadywire() -> Iterator[str]:
    """A server process; yields its URL."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MAIN, "serve", "--port", "0", "--store", "memory:"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = next(found[1] for line in process.stdout if (found := _LISTENS.search(line)))
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        try:
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)
            drain.join()


class Room:
    """One run, and the line over which pages reach it."""

    def __init__(self, server: str, origin: str) -> None:
        self.server = server
        self.origin = origin
        self.run_id = str(uuid.uuid4())
        self.line = Line(int(server.rpartition(":")[2]))
        self._call("PUT", "", b"{}")

    def address(self, user: str = "ada", **config: float) -> str:
        """Of the page for that user."""
        fields = {"run": self.run_id, "server": self.line.url, "user": user, "config": json.dumps(QUICK | config)}
        return f"{self.origin}/page.html?{urlencode(fields)}"

    def log(self) -> list[int]:
        """The marks of all events, in order."""
        return [event["data"]["mark"] for event in self._call("GET", "/collaboration/replay?fromSequence=1")["events"]]

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Authorization": "Bearer dev:tests", "Content-Type": "application/json"}
        url = f"{self.server}/api/runs/{self.run_id}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return json.load(answer)
