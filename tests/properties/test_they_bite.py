"""Proof that the properties bite: each bug of the catalogue, put into the product on purpose, is found. See `bite` and `bugs`."""

import pytest

from .bite import hunt
from .bugs import BUGS, Bug, applied, fits


def test_every_line_of_the_catalogue_is_still_there() -> None:
    assert len(BUGS) >= 40
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    stale = [bug.name for bug in BUGS if not fits(bug)]
    assert not stale, f"adapt the catalogue: {stale}"
    for bug in BUGS:
        with applied(bug):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_bug_is_caught(bug: Bug) -> None:
    catch = hunt(bug, shrink_s=0.0)
    assert catch.examples, "not caught"
    print(f"{bug.name}: {catch.examples} examples: {catch.said}")
