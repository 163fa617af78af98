"""docs/tools.md: its commands run unchanged, at other ports, and everything in its tables exists."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from simulation.processes.ports import free_ports
from simulation.scenario.faults import LinkFault
from tests.docs import document

PAGE = document.page("tools.md")
BLOCKS = document.blocks(PAGE, "sh")
STEADYWIRE = f"{sys.executable} -m simulation.cli"


def test_every_fault_of_a_line_stands_there_with_its_fields() -> None:
    table = document.table(PAGE[PAGE.index("| `kind` | what happens") :])
    known = {
        str(kind.__struct_config__.tag): {*kind.__struct_fields__} - {"at_s", "clients", "share"} for kind in get_args(LinkFault)
    }
    assert {kind: {*re.findall(r"[a-z_]+", fields)} for kind, _, fields in table} == known


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_proxy_run(tmp_path: Path) -> None:
    start, use = BLOCKS[:2]
    for named, port in zip((8000, 9000, 9001), free_ports(3), strict=True):
        start, use = start.replace(str(named), str(port)), use.replace(str(named), str(port))
    start = start.replace("python3", sys.executable).replace("steadywire proxy", f"{STEADYWIRE} proxy")
    processes = [
        subprocess.Popen(line.removesuffix(" &").split(), cwd=document.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in start.strip().splitlines()
    ]
    try:
        until = time.monotonic() + 20
        while subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/"], check=False, capture_output=True).returncode:
            assert time.monotonic() < until, "the proxy does not answer"
        script = "set -e\n" + use.replace("curl ", "curl -sS --fail-with-body ")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"kind": "block_upgrade"' in done.stdout
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
