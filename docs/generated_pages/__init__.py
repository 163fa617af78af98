"""Pages of the documentation that are made from the code when the site is built, so that they cannot be out of date.

scenario_format    every part and field of a scenario file
frames             the data dictionary: every frame and field
command_line       every command and option
python_api         the public names, for Sphinx' autodoc
notebook_pages     the notebooks, with pictures where widgets need a running Python
docstrings         docstrings as Sphinx needs them, for the Python API
"""

from pathlib import Path

from generated_pages import command_line, frames, python_api, scenario_format
from generated_pages.notebook_pages import write_notebooks

__all__ = ["PAGES", "write_notebooks", "write_pages"]

PAGES = {
    "scenario_format.md": scenario_format.page,
    "frames.md": frames.page,
    "command_line.md": command_line.page,
    "python_api.md": python_api.page,
}


def write_pages(folder: Path) -> None:
    """Write every generated page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
