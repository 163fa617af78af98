"""The browser client in Node: its machine alone, and its driver against a real server. Each file of `node/` is one test here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .fourth_world import node

NODE_MAJOR_MIN = 20
FILES = sorted(Path(__file__).with_name("node").glob("*.test.mjs"))
TEST_S_MAX = 240
ROOT = Path(__file__).parents[2]


def node_major() -> int | None:
    command = node()
    if command is None:
        return None
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])


MAJOR = node_major()


@pytest.mark.skipif(MAJOR is None or MAJOR < NODE_MAJOR_MIN, reason=f"needs Node {NODE_MAJOR_MIN} or newer; found {MAJOR}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_in_node(path: Path) -> None:
    command = node()
    assert command is not None, "skipped without it"
    assert MAJOR is not None, "skipped without it"
    flags = [] if MAJOR >= 22 else ["--experimental-websocket"]  # from 22 on it is there without a flag
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(
        [command, *flags, "--test-reporter=tap", str(path)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TEST_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^# (pass|fail|skipped) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["pass"]) > 0, "a file without tests shows nothing"
    assert counts["fail"] == counts["skipped"] == "0", done.stdout
