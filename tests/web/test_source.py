"""The source of the browser client: it passes the TypeScript compiler in strict mode, has no dependency, and keeps its layers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .tools import NODE, WHY_NODE, tool

WEB = Path(__file__).parents[2] / "reference" / "web"
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
TYPESCRIPT = "typescript@5.9.3"
MACHINE = sorted((WEB / "machine").glob("*.js"))
CLIENT = sorted((WEB / "client").glob("*.js"))
_IMPORT = re.compile(r"""^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)";|\bimport\(\s*["']([^"']+)""", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)


@pytest.fixture(scope="module")
def compiler(request: pytest.FixtureRequest) -> list[str]:
    """The TypeScript compiler, which is installed once into pytest's cache: a tool for tests, no dependency of the client."""
    npm = tool("npm")
    if NODE is None or npm is None:
        pytest.skip(WHY_NODE)
    assert request.config.cache is not None
    folder = request.config.cache.mkdir(TYPESCRIPT.replace("@", "-"))
    path = folder / "node_modules" / "typescript" / "bin" / "tsc"
    if not path.exists():
        command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), TYPESCRIPT]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
    return [NODE, str(path)]


@pytest.mark.slow
@pytest.mark.parallel
def test_the_types_hold(compiler: list[str]) -> None:
    command = [*compiler, "--project", str(WEB / "tsconfig.json"), "--pretty", "false"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parallel
def test_a_wrong_type_is_found(compiler: list[str], tmp_path: Path) -> None:
    """The check can fail: strictness is on, and JavaScript is checked. One module is enough to see it."""
    shutil.copytree(WEB, tmp_path / "web")
    settings = tmp_path / "web" / "tsconfig.json"
    chosen = json.loads(settings.read_text("utf-8")) | {"include": ["machine/timers.js"]}
    settings.write_text(json.dumps(chosen), "utf-8")
    path = tmp_path / "web" / "machine" / "timers.js"
    path.write_text(path.read_text("utf-8") + '\n/** @type {number | null} */\nconst wrong = "text";\nns(wrong);\n', "utf-8")
    command = [*compiler, "--project", str(settings), "--pretty", "false"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "TS2322" in done.stdout


@pytest.mark.parametrize("path", MACHINE, ids=lambda path: path.stem)
def test_the_machine_is_pure(path: Path) -> None:
    """It imports its own modules only, and knows no clock, chance, page or network."""
    text = path.read_text("utf-8")
    assert all(name.startswith("./") and (path.parent / name).exists() for name in imports_of(text))
    code = _COMMENT.sub("", text)
    forbidden = r"\b(Date|performance|Math\.random|crypto|setTimeout|fetch|WebSocket|window|document|navigator|console)\s*[.(]"
    assert not re.search(forbidden, code), re.search(forbidden, code)


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.stem)
def test_the_driver_depends_on_nothing_else(path: Path) -> None:
    names = imports_of(path.read_text("utf-8"))
    assert all(name.startswith(("./", "../machine/")) and (path.parent / name).exists() for name in names), names


def test_each_clause_that_is_cited_exists() -> None:
    clauses = set(re.findall(r"^\*\*(\d+\.\d+)\*\*", PROTOCOL.read_text("utf-8"), re.MULTILINE))
    for path in (*MACHINE, *CLIENT):
        for comment in _COMMENT.findall(path.read_text("utf-8")):
            for cited in re.findall(r"(?<![\d.])(?:\d{1,2}\.\d{1,2})(?![\d.]|\s*(?:KiB|ms|s\b))", comment):
                assert cited in clauses, f"{path.name} cites {cited}"


def test_each_rule_for_clients_is_cited_by_the_machine() -> None:
    clauses = set(re.findall(r"^\*\*(7\.\d+)\*\*", PROTOCOL.read_text("utf-8"), re.MULTILINE))
    comments = " ".join(comment for path in MACHINE for comment in _COMMENT.findall(path.read_text("utf-8")))
    assert clauses - set(re.findall(r"(?<![\d.])7\.\d+", comments)) == set()


def imports_of(text: str) -> list[str]:
    """What a module imports, types that are imported in comments left out."""
    return [first or second for first, second in _IMPORT.findall(_COMMENT.sub("", text))]
