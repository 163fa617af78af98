"""tests/conftest.py itself: in how many processes tests run, and that a skipped test fails where everything must run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "--strict-markers -p no:schemathesis -m 'not slow'"
markers = ["slow: left out"]
"""
TESTS = """
import os
import pytest

def test_where_it_runs():
    print("it ran in", os.environ.get("PYTEST_XDIST_WORKER", "one process"))

def test_that_is_skipped():
    pytest.skip("there is no database")

def test_that_another_part_covers():
    pytest.skip("covered by another part of the same run")

@pytest.mark.slow
def test_that_is_slow():
    pass
"""
SEVERAL = r"it ran in gw\d"
ONE = "it ran in one process"

pytestmark = [pytest.mark.slow, pytest.mark.parallel]  # each test starts pytest several times


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two test files and our conftest."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "tests").mkdir()
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / "tests" / name).write_text(TESTS)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    return tmp_path


def said(project: Path, *arguments: str, ci: bool = False) -> str:
    """What pytest prints of the project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name != "CI"}
    environment = kept | {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"} | ({"CI": "true"} if ci else {})
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rP", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120).stdout


def test_the_whole_fast_suite_runs_on_all_processors(project: Path) -> None:
    expected = SEVERAL if len(os.sched_getaffinity(0)) > 1 else ONE
    assert re.search(expected, said(project))


@pytest.mark.parametrize(
    "arguments",
    [
        ["tests/test_one.py"],
        ["-k", "where"],
        ["-m", "slow or not slow"],
        ["-n", "0"],
        ["-p", "no:xdist"],
    ],
    ids=" ".join,
)
def test_anything_else_runs_in_one(project: Path, arguments: list[str]) -> None:
    assert ONE in said(project, *arguments)


@pytest.mark.parametrize("arguments", [["-n", "0"], ["-n", "2"], ["-p", "no:xdist"]], ids=" ".join)
def test_a_skipped_test_fails_where_everything_must_run(project: Path, arguments: list[str]) -> None:
    printed = said(project, *arguments, ci=True)
    assert "2 failed, 2 passed, 2 skipped" in printed
    assert printed.count("skipped where everything must run: Skipped: there is no database") >= 2
    assert "2 passed, 4 skipped" in said(project, *arguments)
