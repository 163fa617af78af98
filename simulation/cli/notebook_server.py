"""`steadywire lab`: JupyterLab on a copy of the notebooks in the user's folder.

A notebook is copied if it is missing, and updated if it is still as it was copied. A notebook that the user has changed (or run,
which saves its outputs) is never overwritten.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from reference.cli.files import writing
from reference.protocol.errors import ConfigError

LIST = ".steadywire-notebooks.json"
"""In the folder: the digest of each notebook as it was copied."""
FIRST = "00_launcher.ipynb"


def lab_command(*, folder: Path, port: int | None, browser: bool) -> int:
    """Copy the notebooks and run JupyterLab until it ends; returns its exit code. Raises ConfigError."""
    if find_spec("jupyterlab") is None:
        raise ConfigError("JupyterLab is not installed; pip install 'steadywire[lab]'")
    with writing(folder):
        kept = copy_notebooks(notebooks(), folder)
    for name in kept:
        print(f"kept as you left it: {folder / name}; a newer one exists (delete or rename yours to get it)")
    print(f"notebooks: {folder}, begin with {FIRST}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options(port=port, browser=browser)], cwd=folder)
    return _wait(process)


def notebooks() -> Path:
    """Where the notebooks are: in the package, or beside it in a checkout. Raises ConfigError."""
    package = Path(__file__).parents[1]
    for place in (package / "notebooks", package.parent / "notebooks"):
        if (place / FIRST).is_file():
            return place
    raise ConfigError(f"the notebooks are missing beside {package}; install steadywire again")


def copy_notebooks(source: Path, folder: Path) -> list[str]:
    """Bring `folder` up to date; returns the notebooks that were left alone though a newer one exists. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    copied = _read_list(folder / LIST)
    kept = []
    for notebook in sorted(source.glob("*.ipynb")):
        target, new = folder / notebook.name, _digest(notebook)
        if target.exists():
            now = _digest(target)
            if now == new:
                copied[notebook.name] = new
                continue
            if now != copied.get(notebook.name):
                if copied.get(notebook.name) != new:
                    kept.append(notebook.name)
                continue
        shutil.copyfile(notebook, target)
        copied[notebook.name] = new
    (folder / LIST).write_text(json.dumps(copied, indent=2) + "\n", encoding="utf-8")
    return kept


def options(*, port: int | None, browser: bool) -> Iterator[str]:
    """JupyterLab's command line options. For root, as in a container, it needs an option that allows it."""
    yield FIRST
    if port is not None:
        yield f"--port={port}"
    if not browser:
        yield "--no-browser"
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield "--allow-root"


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """JupyterLab gets Ctrl-C from the terminal itself, and asks; SIGTERM is passed on."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            code = process.wait()
            return 0 if code in (0, -signal.SIGTERM) else 1


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_list(file: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return {str(name): str(digest) for name, digest in read.items()}
    return {}
