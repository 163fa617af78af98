"""docs/naive_server.md shows what the search finds, action for action and line for line."""

import re

import pytest

from .page import DOCS, SOUGHT, judged, page, smallest

PAGE = (DOCS / "naive_server.md").read_text(encoding="utf-8")


def actions_shown(guarantee: str) -> list[tuple[str, float]]:
    shown = re.search(rf"## {guarantee}\n.*?Actions: (.*?)\n", PAGE, re.DOTALL)
    assert shown is not None
    pairs = [action.split() for action in shown[1].split(" · ")]
    return [(pair[0], float(pair[1]) if len(pair) > 1 else 0) for pair in pairs]


def test_each_counterexample_of_the_page_still_breaks_its_guarantee() -> None:
    for guarantee in SOUGHT:
        violated = judged(actions_shown(guarantee))
        assert violated is not None
        assert f"{guarantee}: {violated.broken[guarantee]}" in PAGE


def test_the_page_is_what_the_command_writes() -> None:
    assert page({guarantee: actions_shown(guarantee) for guarantee in SOUGHT}, None) == PAGE


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("guarantee", SOUGHT)
def test_the_search_finds_it_again(guarantee: str) -> None:
    assert smallest(guarantee) == actions_shown(guarantee)
