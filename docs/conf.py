"""How the documentation is built: `python -m sphinx -W -q -b html docs docs/_build`. It needs no network.

Two things are made before Sphinx reads anything, from sources that stand elsewhere, so they cannot be out of date:

    _generated/client_states.svg   drawn from the transition table of the client
    notebooks/                     copies of the notebooks at the top of the repository
"""

import os
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"

project = "steadywire"
project_copyright = "the steadywire maintainers"
author = "the steadywire maintainers"

extensions = ["myst_nb"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "_generated"]

# Notebooks are stored without outputs; they are executed here, at their small size, and one that fails, fails the build.
os.environ.setdefault("STEADYWIRE_NOTEBOOKS", "ci")
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 300

html_theme = "furo"
html_title = "steadywire"
html_show_sourcelink = False
html_copy_source = False


def make_generated(_app: Sphinx) -> None:
    """Draw the figures, copy the notebooks."""
    sys.path.insert(0, str(HERE))
    try:
        import draw_states
    finally:
        sys.path.remove(str(HERE))
    generated = HERE / "_generated"
    generated.mkdir(exist_ok=True)
    draw_states.save(generated / "client_states.svg")

    copies = HERE / "notebooks"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        shutil.copy2(notebook, copies)
    for script in sorted(NOTEBOOKS.glob("*.py")):
        import jupytext  # only needed where notebooks are kept as scripts

        jupytext.write(jupytext.read(script), copies / f"{script.stem}.ipynb")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", make_generated)
