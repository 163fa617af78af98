"""Every notebook runs in a fresh kernel without an error, and is kept as its source alone.

A notebook asserts its own findings, so to run it is to test them. What all notebooks have to keep is tested here.
"""

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from simulation.results.notebooks.findings import SIZE_VARIABLE, checksum

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_S_MAX = 300
"""Of one cell, on the slowest machine that runs this."""
LOOK_AT_FIGURES = """
import json
from matplotlib.figure import Figure

def _shows(axis):
    words = [tick.get_text() for tick in axis.get_ticklabels() if any(map(str.isalpha, tick.get_text()))]
    return {"label": axis.get_label_text(), "words": words}

def _is_stacked(other, axes):
    return other.get_xlim() == axes.get_xlim() and round(other.get_position().x0, 3) == round(axes.get_position().x0, 3)

_figures = [thing for thing in Out.values() if isinstance(thing, Figure)]
print(len(_figures))
print(json.dumps([
    {
        "axes": axes.get_title(loc="left") or axes.get_title(),
        "x": max((_shows(other.xaxis) for other in figure.axes if _is_stacked(other, axes)), key=lambda x: len(x["label"])),
        "y": _shows(axes.yaxis),
    }
    for figure in _figures
    for axes in figure.axes
    if axes.axison
]))
"""
"""Run in the notebook's own kernel, after its last cell."""

pytestmark = pytest.mark.filterwarnings("default")  # what the kernel's client warns of is not ours

IMPORTS = ast.Import | ast.ImportFrom
IMPORTS_MAX, FUNCTION_LINES_MAX = 4, 3
PUBLIC_FACES = {
    *("reference.client", "reference.server", "simulation"),
    *(f"simulation.{name}" for name in ("results", "studies", "testing", "validation")),
}
QUESTIONS = [path for path in NOTEBOOKS if path.stem not in ("00_launcher", "12_live_widget")]  # those two show widgets
COUNTS = ("clients", "faults", "messages")
CHANGES = {
    "01_first_look": ("ping_interval_s=1.0", "ping_interval_s=5.0"),
    "02_latency": ("one_way_s=0.04", "one_way_s=0.15"),
    "03_delivery_rates": ("down_s=10.0", "down_s=3.0"),
    "04_reconnect_storms": ("first_spread_s=5.0", "first_spread_s=0.1"),
    "05_when_to_fall_back": ("outage_s=5.0", "outage_s=0.5"),
    "06_heartbeats": ("fade_ms=1_500.0", "fade_ms=8_000.0"),
    "07_tuning": ("attempts_most=60", "attempts_most=1"),
    "08_is_the_simulator_right": ("clients=10", "clients=2"),
    "09_your_own_trace": ("duration_s=600.0", "duration_s=450.0"),
    "11_the_brief_and_ours": ("first_spread_s=5.0", "first_spread_s=0.2"),
}
"""One line of a notebook that a reader may change, and into what."""
each_question = pytest.mark.parametrize("path", QUESTIONS, ids=lambda path: path.stem)
LIVE = ("12_live_widget",)
"""Those that wait for a real client on a real network."""
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@each_notebook
def test_only_the_source_is_kept(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3", "the kernel that every Jupyter has"
    assert set(notebook.metadata.get("language_info", {})) <= {"name"}, "no version of the machine that it was written on"
    for cell in notebook.cells:
        assert not cell.metadata, f"cell {cell.id} keeps {dict(cell.metadata)}"
        if cell.cell_type == "code":
            assert cell.outputs == [], f"cell {cell.id} keeps its outputs: clear them before you commit"
            assert cell.execution_count is None, f"cell {cell.id} keeps its count: clear all outputs before you commit"


@each_notebook
def test_functions_are_short(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(as_python(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.body[-1].end_lineno - node.body[0].lineno + 1
                assert lines <= FUNCTION_LINES_MAX, f"{node.name}: what is longer is worth a test; move it into a module"


@each_question
def test_imports_are_few_and_public(path: Path) -> None:
    imports = [node for cell in code_cells(path) for node in as_python(cell.source).body if isinstance(node, IMPORTS)]
    assert len(imports) <= IMPORTS_MAX
    for node in imports:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.ImportFrom) and node.module in ("simulation", "reference"):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        ours = [module for module in modules if module.split(".")[0] in ("simulation", "reference")]
        assert set(ours) <= PUBLIC_FACES, f"{path.stem} imports {', '.join(ours)}"


@each_question
def test_it_opens_with_its_question_and_needs_no_magic(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0].source
    for part in ("**Question:**", "**You will know**", "**Told first:**"):
        assert part in first
    assert not any(line.startswith(("%", "!")) for cell in code_cells(path) for line in cell.source.splitlines())


@each_question
def test_its_parameters_stand_in_one_cell_with_their_checksum(path: Path) -> None:
    cells = code_cells(path)
    (of_parameters,) = [cell for cell in cells if "results.parameters(" in cell.source]
    space: dict[str, Any] = {}
    exec(cells[0].source + "\n" + of_parameters.source, space)
    call = next(node for node in ast.walk(ast.parse(of_parameters.source)) if isinstance(node, ast.Call))
    values = {word.arg: eval(ast.unparse(word.value), space) for word in call.keywords}
    right = checksum({name: value for name, value in values.items() if name != "ci"}, values.get("ci", {}))
    assert space["p"].is_shipped, f"parameters have changed: their checksum is {right!r} now"


@each_question
def test_it_has_findings(path: Path) -> None:
    called = [node.func.attr for cell in code_cells(path) for node in ast.walk(as_python(cell.source)) if is_call(node)]
    assert called.count("finding") >= 2
    assert not any(isinstance(node, ast.Assert) for cell in code_cells(path) for node in ast.walk(as_python(cell.source)))


@each_notebook
def test_names_are_public(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(as_python(cell.source)):
            imported = [*node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for name in [alias.name for alias in imported]:
                assert not any(part.startswith("_") for part in name.split(".")), f"cell {cell.id} imports {name}"
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_"), f"cell {cell.id} uses {node.attr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem in LIVE else [pytest.mark.parallel]) for path in NOTEBOOKS],
)
def test_it_runs_and_its_figures_can_be_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LOOK_AT_FIGURES))
    execute(notebook, tmp_path, monkeypatch)

    assert list(tmp_path.iterdir()) == [], "a notebook leaves no files where it stands"
    *cells, look = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"cell {cell.id} warns: {output.text}"
    images = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    figures, said = "".join(output.text for output in look.outputs).splitlines()  # a busy kernel sends it in pieces
    assert int(figures) == len(images), "every figure is the value of its cell"
    for axes in json.loads(said):
        for axis in (axes["x"], axes["y"]):  # one with words at its ticks needs no label
            assert axis["label"] or axis["words"], f"{axes['axes']!r} has an axis without a label"
            has_unit = "(" in axis["label"] or axis["label"].startswith(COUNTS)
            assert has_unit or axis["words"], f"{axes['axes']!r}: {axis['label']!r} does not name its unit"


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("name", CHANGES)
def test_it_survives_a_change(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(next(path for path in NOTEBOOKS if path.stem == name), as_version=4)
    shipped, changed = CHANGES[name]
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and "results.parameters(" in cell.source]
    assert cell.source.count(f"    {shipped},") == 1
    cell.source = cell.source.replace(f"    {shipped},", f"    {changed},")
    execute(notebook, tmp_path, monkeypatch)
    said = "".join(output.get("text", "") for each in notebook.cells for output in each.get("outputs", []))
    assert "Found: " in said or "Does not hold with these parameters: " in said


def execute(notebook: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the small size. Raises CellExecutionError, with the cell and its traceback."""
    monkeypatch.setenv(SIZE_VARIABLE, "ci")
    NotebookClient(notebook, timeout=CELL_S_MAX, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()


def is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def as_python(source: str) -> ast.Module:
    """A cell without its magics."""
    return ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))
