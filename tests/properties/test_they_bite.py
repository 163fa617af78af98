"""Proof that the properties bite: each bug of `bugs`, put into the product on purpose, is found. See `bite`."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.properties import bite
from tests.properties.bite import hunt
from tests.properties.bugs import BUGS, Bug, applied, fits, named


@pytest.mark.slow
@pytest.mark.parallel
def test_every_line_of_the_catalogue_is_still_there() -> None:
    assert len(BUGS) >= 140
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


@pytest.mark.parametrize(
    "bug", [bug for bug in BUGS if bug.net in bite.SINGLE_MACHINES | bite.SINGLE_CLAUSES], ids=lambda bug: bug.name
)
def test_a_bug_that_needs_no_world_is_caught_by_the_fast_profile(bug: Bug) -> None:
    assert hunt(bug, examples_max=bite.FAST_EXAMPLES, shrink_s=0.0).examples


def test_a_piece_is_found_by_its_syntax_not_by_its_text() -> None:
    bug = named("a gap is not noticed")
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


def test_a_search_goes_on_after_the_results_that_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, page = tmp_path / "kept.jsonl", tmp_path / "page.md"
    page.write_text(f"before\n{bite.BEGIN}\nold\n{bite.END}\nafter\n", encoding="utf-8")
    bite.main(["rounded up", "--kept", str(kept)])
    (found,) = bite.kept_in(kept).values()
    assert (found.bug, found.test) == (named("a percentile is rounded up"), "test_health_is_what_the_brief_says")
    assert capsys.readouterr().out.startswith("    caught ")
    with pytest.raises(SystemExit):
        bite.main(["--kept", str(kept), "--seconds", "0", "--into", str(page)])
    assert "\nold\n" in page.read_text(encoding="utf-8"), "a table with holes is not written"
    changed = replace(found, bug=replace(found.bug, new="low = math.floor(place) + 2"))
    kept.write_bytes(b"".join(bite.line_of(each) for each in (changed, *(replace(found, bug=bug) for bug in BUGS))))
    bite.main(["--kept", str(kept), "--into", str(page)])
    assert capsys.readouterr().out == f"{len(BUGS)} of {len(BUGS)} caught; * is a fault of the design before this one.\n"
    assert page.read_text(encoding="utf-8").count(f"| `{found.test}` |") == len(BUGS)
