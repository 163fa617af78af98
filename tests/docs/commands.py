"""The commands of README and docs, as a reader would type them.

A page's commands run in order in one folder of their own. They stand in fenced blocks marked `sh`, and in indented lines that
begin with `steadywire` or `python`. A fenced `toml` block whose first line is `# NAME.toml` is a file that the reader saves. A
block is left out if the line before it is `<!-- not run: REASON -->`, a page if it is in `NOT_RUN`.

`steadywire serve` is started and kept until the page ends; ports are replaced by free ones.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from simulation.processes.ports import free_ports
from tests.docs import document

NOT_RUN = {
    "browser.md": "tests/conformance judges the browser's client with this command",
    "conformance.md": "they judge a server or client of the reader's own; tests/conformance runs the kit",
    "fidelity.md": "fidelity takes minutes on a quiet machine: tests/fidelity tests its parts; tests/replay runs what-if",
    "guarantees.md": "the mutation run takes hours; tests/mutation tests its judge",
    "operations.md": "they need a PostgreSQL server, secrets and names of one's own; tests/server and tests/store run them",
    "tools.md": "tests/docs/test_tools_page.py runs them, at free ports",
}
"""Pages whose commands are not run here, and why. That each exists with its options is tested all the same."""
PAGES = (document.ROOT / "README.md", *sorted((document.ROOT / "docs").glob("*.md")))
COMMAND_TIMEOUT_S = 120

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"(?:```(?P<kind>sh|toml)\n(?P<body>.*?)^```|(?P<indented>^    (?:\.venv/bin/)?(?:steadywire|python) .*\n(?:^    .*\n)*))",
    re.MULTILINE | re.DOTALL,
)
_TYPED = re.compile(r"(?:\.venv/bin/)?(?:steadywire|python) ")


@dataclass(frozen=True)
class Command:
    """One line to type. `reason`: why it is not run, or None."""

    line: str
    reason: str | None


def steps_of(page: Path) -> list[Command | tuple[str, str]]:
    """What a reader does, in order: commands, and files to save (name, text)."""
    steps: list[Command | tuple[str, str]] = []
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        text = found["body"] or found["indented"]
        if found["kind"] == "toml":
            if name := re.match(r"# (\w+\.toml)\n", text):
                steps.append((name[1], text))
            continue
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            line = re.sub(r"\s{2,}# .*$", "", line.strip())
            if line and not line.startswith("#") and (found["kind"] or _TYPED.match(line)):
                steps.append(Command(line, found["reason"] or NOT_RUN.get(page.name)))
    return steps


class Reader:
    """Carries out a page's steps in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        (self._port,) = free_ports(1)
        programs = folder / "bin"
        programs.mkdir()
        for name, arguments in (("steadywire", "-m simulation.cli "), ("python", "")):
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            script.chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(document.ROOT),
            "MPLBACKEND": "Agg",
        }
        for name in ("tests", "simulation", "reference", "pyproject.toml"):
            (folder / name).symlink_to(document.ROOT / name)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)

    def save(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def type(self, line: str) -> subprocess.CompletedProcess[str] | None:
        """Type a command; None for a server that goes on."""
        line = line.replace(".venv/bin/", "").replace("8765", str(self._port))
        if line.startswith("steadywire serve"):
            self._serve(line)
            return None
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.replace("curl ", "curl --fail-with-body ")],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )

    def _serve(self, line: str) -> None:
        self._server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                assert self._server.poll() is None, f"{line} has ended"
                assert time.monotonic() < until, f"{line} does not listen"
                time.sleep(0.1)
