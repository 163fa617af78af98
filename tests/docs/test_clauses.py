"""Each clause of the protocol is cited in the code by its number, and each cited number is a clause.

A citation stands in a comment or a docstring of `reference`: `# 7.13`, `# 7.13: why`, `(7.13)`, `(7.13, 7.14)` or `protocol
7.13`.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs import document

CODE = ("protocol", "server", "client", "store")
CITED_SECTIONS = range(4, 11)

_NUMBER = r"\d{1,2}\.\d{1,2}"
_NUMBERS = rf"{_NUMBER}(?:(?:, | and | to |; ){_NUMBER})*"
_CITATION = re.compile(rf"\(({_NUMBERS})\)|\bprotocol ({_NUMBERS})|#\s*({_NUMBERS})(?=$|[:;,. ])")


@cache
def clauses() -> tuple[str, ...]:
    """The numbers of the protocol's clauses, in order."""
    return tuple(f"{section}.{clause}" for section, clause in document.clauses())


def citations_in(source: str) -> Iterator[tuple[str, int]]:
    """The clauses that a module cites, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for match in _CITATION.finditer(token.string):
                line = token.start[0] + token.string.count("\n", 0, match.start())
                yield from ((number, line) for number in re.findall(_NUMBER, match.group()))


@cache
def citations() -> dict[str, str]:
    """Where each clause is cited first."""
    found: dict[str, str] = {}
    for package in CODE:
        for path in sorted((document.ROOT / "reference" / package).rglob("*.py")):
            for number, line in citations_in(path.read_text(encoding="utf-8")):
                found.setdefault(number, f"{path.relative_to(document.ROOT)}:{line}")
    return found


def test_no_citation_is_dead() -> None:
    dead = {number: place for number, place in citations().items() if number not in clauses()}
    assert not dead, f"the protocol has no such clauses: {dead}"


@pytest.mark.parametrize("section", [str(section) for section in CITED_SECTIONS])
def test_every_clause_is_cited(section: str) -> None:
    missing = [number for number in clauses() if number.split(".")[0] == section and number not in citations()]
    assert not missing, f"cite these clauses where their rules stand in reference: {missing}"


@pytest.mark.parametrize(
    ("source", "cited"),
    [
        ("x = 1  # 7.13\n", ["7.13"]),
        ("# 7.13: why\n", ["7.13"]),
        ('"""Does it (7.13, 8.2) as the protocol 7.41 says."""\n', ["7.13", "8.2", "7.41"]),
        ("x = 7.13\ny = f(7.13)\n", []),
        ('"""Waits 0.25 s, in 3.11 (about 0.5 of it)."""\n', []),
    ],
)
def test_what_counts_as_a_citation(source: str, cited: list[str]) -> None:
    assert [number for number, _ in citations_in(source)] == cited
