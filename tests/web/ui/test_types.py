"""The TypeScript compiler, in strict mode, finds nothing in the scripts that only browsers and notebooks run."""

import json
import subprocess
from pathlib import Path

import pytest

import reference.web
import simulation.results

from .browser import npm_package

pytestmark = pytest.mark.slow

WEB = Path(reference.web.__file__).parent


def test_the_scripts_are_typed(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    compiler = npm_package("typescript@5.9.3", pytestconfig) / "bin" / "tsc"
    scripts = [WEB / name for name in ("component", "page", "admin", "jupyter")] + [Path(simulation.results.__file__).parent]
    config = {"extends": str(WEB / "tsconfig.json"), "include": [f"{path}/*.js" for path in scripts]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    command = ["node", str(compiler), "-p", str(tmp_path / "tsconfig.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
