"""docs/cases.md: each case has a test, and each test that it names exists."""

import re
from collections.abc import Iterator

import pytest

from tests.docs import document

PAGE = document.page("cases.md")


def rows() -> list[document.Row]:
    return [row for part in PAGE.split("\n## ")[1:] if "|---" in part for row in document.table(part)]


def named_in(cell: str) -> Iterator[tuple[str, str]]:
    """File and function; a name that begins with :: is in the file before it."""
    name = ""
    for file, function in re.findall(r"([\w/.]*)::(\w+)", cell):
        name = file or name
        yield name, function


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row[0]))
def test_each_case_has_a_test_that_exists(row: document.Row) -> None:
    case, wrong, others, cell = row
    assert case
    assert wrong
    assert others
    found = list(named_in(cell))
    assert found
    for name, function in found:
        text = (document.ROOT / "tests" / name).read_text()
        assert re.search(rf"^(?:async )?def {function}\(", text, re.MULTILINE), f"{name} has no {function}"


def test_no_case_stands_there_twice() -> None:
    cases = [row[0] for row in rows()]
    assert len(cases) == len(set(cases)) >= 40
