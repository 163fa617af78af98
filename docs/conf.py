"""How the documentation is built: `python -m sphinx -W -q -b html docs docs/_build`. It needs no network.

These are made before Sphinx reads anything, from sources that stand elsewhere, so they cannot be out of date:

    _generated/client_states.svg                 drawn from the transition table of the client
    _generated/published/scenario.schema.json    the JSON Schema of scenarios, published as it is
    reference/                                   pages from types, wire descriptions and the commands' help (`generated_pages`)
    notebooks/                                   the notebooks at the top of the repository, with pictures for their widgets

`-D nb_execution_mode=off` builds without running the notebooks.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
NOTEBOOKS = HERE.parent / "notebooks"

project = "steadywire"
project_copyright = "the steadywire maintainers"
author = "the steadywire maintainers"

extensions = ["myst_nb", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4
exclude_patterns = ["_build", "_generated"]
html_extra_path = ["_generated/published"]

# Types are links nowhere: a signature says them as they are written.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# Notebooks are stored without outputs; they are executed here, at their small size, and one that fails, fails the build.
os.environ.setdefault("STEADYWIRE_NOTEBOOKS", "ci")
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_ipywidgets_js = {}  # pages have pictures of widgets, and load no scripts from other servers

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = "steadywire"
html_show_sourcelink = False
html_copy_source = False


def make_generated(_app: Sphinx) -> None:
    """Draw the figures, copy the notebooks."""
    import draw_states

    generated = HERE / "_generated"
    (generated / "published").mkdir(parents=True, exist_ok=True)
    draw_states.save(generated / "client_states.svg")

    import generated_pages
    from simulation.scenario.schema import json_schema

    generated_pages.write_pages(HERE / "reference")
    (generated / "published" / "scenario.schema.json").write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")

    copies = HERE / "notebooks"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    generated_pages.write_notebooks(NOTEBOOKS, copies)


def convert_docstring(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain text here; autodoc takes reStructuredText."""
    from generated_pages.docstrings import as_restructured

    lines[:] = as_restructured(lines)


def shorten_signature(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Signatures for readers: without limits, and without the fields of default values."""
    from generated_pages.docstrings import short_signature

    return short_signature(signature), returns


def setup(app: Sphinx) -> None:
    (HERE / "_generated" / "published").mkdir(parents=True, exist_ok=True)  # looked for before anything is made
    app.connect("builder-inited", make_generated)
    app.connect("autodoc-process-docstring", convert_docstring)
    app.connect("autodoc-process-signature", shorten_signature)
