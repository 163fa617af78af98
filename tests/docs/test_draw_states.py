"""The picture of the client's states has every state and every transition, and stays readable when the table changes."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest

from reference.protocol.states import CLIENT_TRANSITIONS, ClientState
from tests.docs.document import ROOT


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "docs" / "draw_states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_transition_is_drawn_once(drawing: ModuleType) -> None:
    drawn = {(start, event): target for (event, target), lines in drawing.bundles().items() for start in lines}
    for event in drawing.ANYWHERE:
        words, target = drawing.everywhere(event)
        drawn |= {(state, event): target for state in ClientState if state.value.replace("_", " ") not in words.split("but\n")[1]}
    assert drawn == CLIENT_TRANSITIONS


def test_no_arrow_runs_through_a_box(drawing: ModuleType) -> None:
    boxes = {**drawing.PLACES, **drawing.ANYWHERE}
    for (event, target), lines in drawing.bundles().items():
        for start, ((x0, y0), (x1, y1)) in lines.items():
            points = [(x0 + (x1 - x0) * step / 50, y0 + (y1 - y0) * step / 50) for step in range(51)]
            for state, (x, y) in boxes.items():
                crossed = any(abs(px - x) < drawing.WIDTH / 2 and abs(py - y) < drawing.HEIGHT / 2 for px, py in points)
                assert state in (start, target) or not crossed, f"{start} to {target} ({event}) runs through {state}"


def test_no_two_boxes_overlap(drawing: ModuleType) -> None:
    boxes = [*drawing.PLACES.values(), *drawing.ANYWHERE.values()]
    for (x0, y0), (x1, y1) in itertools.combinations(boxes, 2):
        assert abs(x0 - x1) > drawing.WIDTH or abs(y0 - y1) > drawing.HEIGHT


def test_the_same_table_gives_the_same_bytes(drawing: ModuleType, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        drawing.save(tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
