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

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_S_MAX = 300
"""Of one cell, on the slowest machine that runs this."""
LOOK_AT_FIGURES = """
import json
from matplotlib.figure import Figure

def _shows(axis):
    words = [tick.get_text() for tick in axis.get_ticklabels() if any(map(str.isalpha, tick.get_text()))]
    return {"label": axis.get_label_text(), "words": words}

_figures = [thing for thing in Out.values() if isinstance(thing, Figure)]
print(len(_figures))
print(json.dumps([
    {
        "axes": axes.get_title(loc="left") or axes.get_title(),
        "x": max((_shows(other.xaxis) for other in axes.get_shared_x_axes().get_siblings(axes)), key=lambda x: len(x["label"])),
        "y": _shows(axes.yaxis),
    }
    for figure in _figures
    for axes in figure.axes
]))
"""
"""Run in the notebook's own kernel, after its last cell."""

pytestmark = pytest.mark.filterwarnings("default")  # what the kernel's client warns of is not ours

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
def test_a_notebook_defines_no_functions(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(as_python(cell.source)):
            is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            assert not is_definition, f"cell {cell.id}: what is worth a name is worth a test; move it into a module"


@each_notebook
def test_a_notebook_asserts_what_it_finds(path: Path) -> None:
    assert any(isinstance(node, ast.Assert) for cell in code_cells(path) for node in ast.walk(as_python(cell.source)))


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
@each_notebook
def test_it_runs_and_its_figures_can_be_read(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LOOK_AT_FIGURES))
    client = NotebookClient(notebook, timeout=CELL_S_MAX, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises CellExecutionError, with the cell and its traceback

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
            assert "(" in axis["label"] or axis["words"], f"{axes['axes']!r}: {axis['label']!r} does not name its unit"


def as_python(source: str) -> ast.Module:
    """A cell without its magics."""
    return ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))
