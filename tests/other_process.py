"""Runs a script in a process of its own, for results that must not depend on the process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def printed_by(script: str, *, hash_seed: str) -> str:
    """What `script` prints under that PYTHONHASHSEED. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
