"""`pip install steadywire` without extras: server, client and their tools work without the modules of the extras."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reference.extras import EXTRAS

ROOT = Path(__file__).parents[2]
BARE = f"""
import sys
OPTIONAL = {sorted(module for modules in EXTRAS.values() for module in modules)}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMAND = f"{BARE}\nfrom simulation.cli import main\nmain()"
ROUND_TRIP = (
    BARE
    + """
import trio
from reference.client import connect, create_run
from reference.server.app import open_server
from reference.server.settings import ServerSettings

async def main():
    async with open_server(ServerSettings(port=0, store="sqlite:///events.sqlite3")) as server:
        run_id = await create_run(server.url, token="dev:ada")
        async with connect(server.url, run_id, token="dev:ada") as client:
            print("stored as", await client.publish("CHAT", {"text": "hello"}))

trio.run(main)
"""
)


def bare(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_extras_name_what_pyproject_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[\\[>=]", each)[0] for each in project["dependencies"]}
    assert not core & {module for modules in EXTRAS.values() for module in modules}
    for extra, modules in EXTRAS.items():
        named = {re.split(r"[\[>=]", each)[0] for each in project["optional-dependencies"][extra]} - {"steadywire"}
        assert set(modules) == named if extra == "lab" else set(modules) <= named
    for extra in ("test", "docs", "cluster", "bench"):
        assert "steadywire[lab]" in project["optional-dependencies"][extra]


@pytest.mark.slow
@pytest.mark.parallel
def test_server_and_client_work(tmp_path: Path) -> None:
    done = bare(ROUND_TRIP, folder=tmp_path)
    assert done.stdout.strip() == "stored as 1", done.stderr


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("command", ["serve", "token", "migrate", "proxy", "demo", "conformance", "simulate", "lab"])
def test_every_command_has_its_help(command: str, tmp_path: Path) -> None:
    done = bare(COMMAND, command, "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize(
    ("arguments", "module"), [(["simulate", "elevator"], "lab"), (["verify", "--quick"], "lab"), (["lab"], "lab")]
)
def test_what_needs_an_extra_says_which(arguments: list[str], module: str, tmp_path: Path) -> None:
    done = bare(COMMAND, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install 'steadywire[{module}]'" in done.stderr


@pytest.mark.slow
@pytest.mark.parallel
def test_a_public_name_that_needs_an_extra_says_which(tmp_path: Path) -> None:
    for line, extra in (
        ("from simulation import Frames", "lab"),
        ("from simulation.results import latency_and_delivery", "lab"),
        ("from reference.web.jupyter import LiveRun", "lab"),
    ):
        done = bare(f"{BARE}\n{line}", folder=tmp_path)
        assert f"pip install 'steadywire[{extra}]'" in done.stderr, line


@pytest.mark.slow
def test_the_demo_works(tmp_path: Path) -> None:
    done = bare(COMMAND, "demo", "--clients", "2", "--seconds", "5", "--no-faults", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
