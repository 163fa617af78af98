"""docs/asyncio.md: its programs run unchanged, with a server at another port."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from reference.client import TrioPortal
from reference.server import ServerSettings, open_server
from simulation.processes.fixtures import TestServer, open_test_server
from tests.docs import document

PROGRAMS = document.blocks(document.page("asyncio.md"), "python")
URL = "http://127.0.0.1:8765"
SECRET = b"change-me: thirty-two bytes or more"


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with open_test_server() as opened:
        yield opened


@pytest.fixture
def signed() -> Iterator[str]:
    """The address of a server that knows the page's secret."""
    with TrioPortal() as portal:
        yield portal.enter(open_server(ServerSettings(port=0, store="memory:", secret=SECRET, stop_timeout_s=1.0))).url


def printed(program: str, url: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program.replace(URL, url)],
        cwd=folder,
        env={"PYTHONPATH": str(document.ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_asyncio_program(server: TestServer, tmp_path: Path) -> None:
    said = printed(PROGRAMS[0], server.url, tmp_path)
    assert said == "stored as event 1\nreceived {'position': 'step-3', 'agent': 'reviewer'}\n"


@pytest.mark.slow
def test_the_program_in_guest_mode(server: TestServer, tmp_path: Path) -> None:
    assert printed(PROGRAMS[1], server.url, tmp_path) == "stored as event 1\n"


USE_FASTAPI = """
from fastapi.testclient import TestClient

with TestClient(app) as browser:
    assert browser.post("/announce", params={"text": "hello"}).json() == {"number": 1}
    assert browser.get("/token", params={"user": "ada"}).json()["run"] == RUN_ID
    print("announced")
"""
USE_DJANGO = """
from django.test import RequestFactory

browser = RequestFactory()
assert announce(browser.get("/announce", {"text": "hello"})).content == b'{"number": 1}'
assert RUN_ID in token(browser.get("/token", {"user": "ada"})).content.decode()
client().close()
print("announced")
"""
DJANGO = "import django\nfrom django.conf import settings\nsettings.configure()\ndjango.setup()\n"
FRAMEWORKS = {"fastapi": PROGRAMS[2] + USE_FASTAPI, "django": DJANGO + PROGRAMS[3] + USE_DJANGO}
"""Each runs where its framework is installed, which the tests do not ask for; what they import of ours is tested everywhere."""


def test_the_programs_import_names_that_exist() -> None:
    assert len(PROGRAMS) == 4
    for program in PROGRAMS:
        found = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ImportFrom)]
        ours = [node for node in found if node.module is not None and node.module.startswith("reference")]
        assert ours
        for node in ours:
            module = import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.slow
def test_the_programs_beside_frameworks(signed: str, tmp_path: Path) -> None:
    for framework, program in FRAMEWORKS.items():
        if find_spec(framework) is not None:
            assert printed(program, signed, tmp_path) == "announced\n"
