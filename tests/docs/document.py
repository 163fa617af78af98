"""docs/protocol.md as the tests read it: clauses, tables by heading, and examples; and parts of other pages."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = ROOT / "docs" / "protocol.md"

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CLAUSE = re.compile(r"^\*\*(\d+)\.(\d+)\*\* ", re.MULTILINE)
_CODE_SPAN = re.compile(r"`[^`]*`")

Row = tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A fenced block of JSON. `kind` is what stands behind the word json."""

    kind: str
    json: str


@cache
def page(name: str) -> str:
    """A page of docs."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks that are marked with this language."""
    return [body for info, body in _FENCE.findall(text) if info == language]


@cache
def prose() -> str:
    """The text without its fenced blocks."""
    return _FENCE.sub("", page(PROTOCOL.name))


def examples() -> list[Example]:
    found = [(info, body) for info, body in _FENCE.findall(page(PROTOCOL.name)) if info.startswith("json")]
    return [Example(info.removeprefix("json").strip(), body) for info, body in found]


def clauses() -> list[tuple[int, int]]:
    """The numbers of all clauses, in the order in which they stand."""
    return [(int(section), int(clause)) for section, clause in _CLAUSE.findall(prose())]


def sections() -> list[int]:
    return [int(heading.partition(".")[0]) for heading in _HEADING.findall(prose()) if re.match(r"\d+\. ", heading)]


def clause(number: str) -> str:
    """The text of one clause, with its tables."""
    start = re.search(rf"^\*\*{re.escape(number)}\*\* ", prose(), re.MULTILINE)
    assert start is not None, f"docs/protocol.md has no clause {number}"
    rest = prose()[start.end() :]
    end = re.search(r"^(\*\*\d+\.\d+\*\* |#)", rest, re.MULTILINE)
    return rest if end is None else rest[: end.start()]


def under(heading: str, text: str | None = None) -> str:
    """What stands between a heading and the next one, in the protocol or in another text."""
    pieces = re.split(rf"^#+ {re.escape(heading)}$", prose() if text is None else text, flags=re.MULTILINE)
    assert len(pieces) == 2, f"{len(pieces) - 1} headings {heading!r}, where one is needed"
    return re.split(r"^#+ ", pieces[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(part: str) -> list[Row]:
    """The rows of the first table in a part of the text, without its head. Code spans lose their marks."""
    lines = part.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("|---")), None)
    assert start is not None, "a table was expected here"
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(_plain(cell) for cell in line.strip().strip("|").split(" | ")))
    return rows


def code_words() -> set[str]:
    """Every word in a code span that has an underscore: names of settings, codes and states."""
    spans = " ".join(_CODE_SPAN.findall(prose()))
    return {word for word in re.findall(r"[A-Za-z_.]*[A-Za-z]", spans) if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}


def _plain(cell: str) -> str:
    cell = cell.strip()
    # A pattern in backticks keeps them: it is part of what the table says.
    return cell if "^" in cell and "`" in cell else cell.replace("`", "")
