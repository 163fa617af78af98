"""A real server as a process of its own, for tests that need one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RUN_IT = "from simulation.cli import main; main()"
END_TIMEOUT_S = 60


@dataclass
class ServerProcess:
    process: "subprocess.Popen[str]"
    url: str
    log: Path
    """Where its stderr goes."""

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_TIMEOUT_S)


@contextmanager
def serving(*options: str, port: int = 0, log: Path | None = None) -> Iterator[ServerProcess]:
    """`steadywire serve` with those options, on a free port unless one is given; it is killed at the end if it still runs."""
    with open(log or "/dev/null", "w") as stderr:
        command = [sys.executable, "-c", RUN_IT, "serve", "--port", str(port), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("steadywire listens on "), (line, log and log.read_text())
        yield ServerProcess(process, line.split()[3], log or Path("/dev/null"))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
