"""schemathesis reads /openapi.json and searches for a request whose answer differs from the document.

It runs in a process of its own: as a plugin of pytest it would cost every other test its start.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import serving

HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
RUN_IT = "from schemathesis.cli import schemathesis; schemathesis()"
EXAMPLES_PER_OPERATION = 10
TIMEOUT_S = 240
"""For a machine that is busy otherwise; alone it takes half a minute."""


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    with serving("--store", "memory:") as server:
        command = [sys.executable, "-c", RUN_IT, "run", f"{server.url}/openapi.json", "--checks", "all", "--seed", "1"]
        command += ["--header", "Authorization: Bearer dev-admin:ada", "--max-examples", str(EXAMPLES_PER_OPERATION)]
        environment = os.environ | {"SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)}
        found = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert "API Operations" in found.stdout
