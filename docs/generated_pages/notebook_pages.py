"""Pages of the notebooks: copies, with what only a reader of the site has to be told.

A widget needs a running Python. On a page its place would be empty, so a picture of it stands there, and the page says how to
start the notebook. The pictures come from JupyterLab in Chromium:

    STEADYWIRE_SCREENSHOTS=docs/_static/widgets python -m pytest -q -n 0 -m slow tests/web/ui/test_notebook.py \\
        tests/web/ui/test_launcher.py

as `widget-*.png`; only those are kept.
"""

import json
from pathlib import Path
from typing import Any

WIDGETS: dict[str, dict[str, tuple[str, str]]] = {
    "00_launcher": {
        "launcher": (
            "launcher",
            "Six sliders; below them the attempts in the busiest second, the time until 99 % are back, and the storm",
        ),
    },
    "12_live_widget": {
        "live": ("live_run", "The health of Ada's connection, buttons to publish and to cut the network, the users, and the log"),
        'HealthWidget(live.client, label="Ada\'s connection")': (
            "health",
            "The health alone: status, latency, delivery rate, reconnections, quality, queued publishes",
        ),
        "player": (
            "player",
            "The player: play, a slider for the time, speed; a row for each client with its faults and queue; lines for events",
        ),
    },
}
"""Of each notebook with widgets: the last line of a cell that shows one, the name of its picture, and what is on it."""
PICTURES = "../_static/widgets"

_START = "`steadywire lab` opens a copy of `{name}.ipynb` in JupyterLab"
_OF_WIDGETS = f"""\
**On this page the widgets are pictures** (from a busy machine), because they need a running Python.
{_START}: choose *Run*, *Run All Cells*, and use them there."""
_OF_A_QUESTION = f"""\
**This page shows the notebook at its small size**: fewer clients and repetitions, so intervals are wider, and a finding may not
show by chance. Its texts are about the full size. {_START}, which runs at the full size, and where you can change values."""


def write_notebooks(source: Path, folder: Path) -> None:
    """Write the page of every notebook in `source` into a folder."""
    for path in sorted(source.glob("*.ipynb")):
        page = page_of(path.stem, json.loads(path.read_text(encoding="utf-8")))
        (folder / path.name).write_text(json.dumps(page, indent=1), encoding="utf-8")


def page_of(name: str, notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook as its page: `notebook` itself is not changed. Raises KeyError if a cell that `WIDGETS` names is not there."""
    widgets = dict(WIDGETS.get(name, {}))
    title, *rest = notebook["cells"]
    note = (_OF_WIDGETS if widgets else _OF_A_QUESTION).format(name=name)
    cells = [title, _text("about-this-page", f"```{{note}}\n{note}\n```")]
    for cell in rest:
        shown = "".join(cell["source"]).rstrip().rpartition("\n")[2]
        if cell["cell_type"] != "code" or shown not in widgets:
            cells.append(cell)
            continue
        picture, alternative = widgets.pop(shown)
        cells.append(cell | {"metadata": cell["metadata"] | {"tags": ["remove-output"]}})
        cells.append(_text(f"picture-of-{picture.replace('_', '-')}", f"![{alternative}]({PICTURES}/widget-{picture}.png)"))
    if widgets:
        raise KeyError(f"{name}: no cell ends with {', '.join(widgets)}")
    return notebook | {"cells": cells}


def _text(identity: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": text}
