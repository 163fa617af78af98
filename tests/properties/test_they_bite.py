"""Proof that the properties bite: each bug of `bugs`, put into the product on purpose, is found. See `bite`."""

from dataclasses import replace

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
@pytest.mark.parallel
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_bug_is_caught(bug: Bug) -> None:
    catch = hunt(bug, shrink_s=0.0)
    assert catch.examples, "not caught"
    print(f"{bug.name}: {catch.examples} examples: {catch.said}")


def test_a_piece_is_found_by_its_syntax_not_by_its_text() -> None:
    (bug,) = [bug for bug in BUGS if bug.name == "a gap is not noticed"]
    assert fits(bug)
    assert fits(replace(bug, old="bool(\n    self . _held  # in another form\n)"))
    assert not fits(replace(bug, where="protocol.client.delivery:Inbox.start_at"))
    assert not fits(replace(bug, where="protocol.client.delivery:Inbox.gone"))
    assert not fits(replace(bug, old="self.last"))  # it stands there several times
    with (
        pytest.raises(LookupError, match=r"'nothing' stands 0 times in .*; adapt the catalogue"),
        applied(replace(bug, old="nothing")),
    ):
        pass
