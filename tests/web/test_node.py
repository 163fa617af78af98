"""The browser client in Node: its machine alone, and its driver against a real server. Each file of `node/` is one test here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .tools import NODE, NODE_IS_MISSING, NODE_MAJOR, WHY_NODE

SLOW = ("driver", "survival")
"""Against real servers. The whole client in a second: `tests/conformance/test_ours.py`."""
FILES = [
    pytest.param(path, id=path.name.removesuffix(".test.mjs"), marks=[pytest.mark.slow] if path.name.startswith(SLOW) else [])
    for path in sorted(Path(__file__).with_name("node").glob("*.test.mjs"))
]
TEST_S_MAX = 240
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(NODE_IS_MISSING, reason=WHY_NODE)
@pytest.mark.parametrize("path", FILES)
def test_in_node(path: Path) -> None:
    assert NODE is not None, "skipped without it"
    assert NODE_MAJOR is not None, "skipped without it"
    flags = [] if NODE_MAJOR >= 22 else ["--experimental-websocket"]  # from 22 on it is there without a flag
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(
        [NODE, *flags, "--test-reporter=tap", str(path)],
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
