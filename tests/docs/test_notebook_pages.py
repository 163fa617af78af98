"""The pages of the notebooks: a picture for each widget, and how to start what the page cannot show."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from generated_pages.notebook_pages import PICTURES, WIDGETS, page_of
from tests.docs import document

NOTEBOOKS = sorted((document.ROOT / "notebooks").glob("*.ipynb"))
WIDGET_CLASSES = {"StormLauncher", "LiveRun", "HealthWidget", "Player"}
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def notebook_of(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def is_widget(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WIDGET_CLASSES


@each_notebook
def test_every_widget_has_its_picture(path: Path) -> None:
    """The value of a cell that is a widget, by its call or by the name that it was given."""
    names, shown = set(), []
    for cell in notebook_of(path)["cells"]:
        body = ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []
        names |= {node.targets[0].id for node in body if isinstance(node, ast.Assign) and is_widget(node.value)}
        match body[-1:]:
            case [ast.Expr(value=value)] if is_widget(value) or (isinstance(value, ast.Name) and value.id in names):
                shown.append("".join(cell["source"]).rpartition("\n")[2])
    assert shown == list(WIDGETS.get(path.stem, {}))
    page = page_of(path.stem, notebook_of(path))["cells"]
    for name, alternative in WIDGETS.get(path.stem, {}).values():
        (place,) = [n for n, cell in enumerate(page) if cell["source"] == f"![{alternative}]({PICTURES}/widget-{name}.png)"]
        assert page[place - 1]["metadata"]["tags"] == ["remove-output"]
        assert (document.ROOT / "docs" / "notebooks" / PICTURES / f"widget-{name}.png").resolve().exists()


@each_notebook
def test_a_page_says_what_it_is_and_how_to_start_the_notebook(path: Path) -> None:
    notebook = notebook_of(path)
    page = page_of(path.stem, notebook)
    note = page["cells"][1]["source"]
    assert "`steadywire lab`" in note
    assert f"`{path.name}`" in note
    assert ("widgets are pictures" in note) == (path.stem in WIDGETS)
    added = [cell for cell in page["cells"] if cell["id"] not in {cell["id"] for cell in notebook["cells"]}]
    assert len(page["cells"]) - len(added) == len(notebook["cells"])


def test_a_picture_without_its_cell_is_a_mistake() -> None:
    notebook = {"cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title"}]}
    with pytest.raises(KeyError, match="no cell ends with launcher"):
        page_of("00_launcher", notebook)
