"""`steadywire lab`: what it copies, what it never overwrites, and how it starts JupyterLab."""

import sys
from pathlib import Path

import pytest

from simulation.cli import notebook_server as lab
from simulation.cli import run


def write(folder: Path, **notebooks: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in notebooks.items():
        (folder / f"{name}.ipynb").write_text(text)
    return folder


def test_notebooks_are_copied_and_brought_up_to_date_but_never_over_a_change(tmp_path: Path) -> None:
    source, mine = write(tmp_path / "source", one="1", two="2"), tmp_path / "deep" / "mine"
    assert lab.copy_notebooks(source, mine) == []
    assert [(mine / name).read_text() for name in ("one.ipynb", "two.ipynb")] == ["1", "2"]
    (mine / "one.ipynb").write_text("mine")
    assert lab.copy_notebooks(source, mine) == [], "a change is no news while there is no newer one"
    write(source, one="1 new", two="2 new", three="3")
    assert lab.copy_notebooks(source, mine) == ["one.ipynb"]
    assert {path.name: path.read_text() for path in mine.glob("*.ipynb")} == {
        "one.ipynb": "mine",
        "two.ipynb": "2 new",
        "three.ipynb": "3",
    }
    (mine / "one.ipynb").unlink()
    assert lab.copy_notebooks(source, mine) == []
    assert (mine / "one.ipynb").read_text() == "1 new"


def test_a_file_that_was_there_before_is_the_users(tmp_path: Path) -> None:
    source, mine = write(tmp_path / "source", one="1"), write(tmp_path / "mine", one="something else")
    (mine / lab.LIST).write_text("not JSON")
    assert lab.copy_notebooks(source, mine) == ["one.ipynb"]
    assert (mine / "one.ipynb").read_text() == "something else"


def test_the_shipped_notebooks_are_found_and_begin_with_the_launcher() -> None:
    names = sorted(path.name for path in lab.notebooks().glob("*.ipynb"))
    assert names[0] == lab.FIRST
    assert "01_first_look.ipynb" in names


def test_root_gets_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert list(lab.options(port=9999, browser=False)) == [lab.FIRST, "--port=9999", "--no-browser", "--allow-root"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert list(lab.options(port=None, browser=True)) == [lab.FIRST]


def test_without_jupyterlab_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    assert run(["lab", "--folder", str(tmp_path / "mine")]) == 2
    assert capsys.readouterr().err == "steadywire lab: JupyterLab is not installed; pip install 'steadywire[lab]'\n"
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["lab", "--folder", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
