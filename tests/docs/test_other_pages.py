"""The other pages: everything that they name exists, and nothing is missing."""

import re

from reference.protocol.config import recovery_bound_s
from simulation import testing
from simulation.checks.checkers import CHECKERS
from tests.docs import document

GUARANTEES = document.page("guarantees.md")
GLOSSARY = document.page("glossary.md")

WORDS = """
run, event, sequence number, epoch, head, oldest, session, connection, transport, cursor, outbox, inbox, gap, replay,
snapshot, fan-out, presence, backoff, jitter, fallback, heartbeat, half-open, round trip, delivery rate, reconnect
storm, path, impairment, fault, workload, scenario, replication, trace, checker, warm-up, confidence interval, common
random numbers
"""
"""The words of this project, which must not mean two things."""


def test_every_guarantee_stands_there_with_its_checker_and_its_tests() -> None:
    parts = re.split(r"^## (G\d+) .*$", GUARANTEES, flags=re.MULTILINE)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(found) == list(CHECKERS)
    for guarantee, part in found.items():
        assert f"`test_guarantee*[{guarantee}]`" in part
        assert f"checker {guarantee}" in part
        assert "- Rests on: " in part
        assert "- Does not promise: " in part
        assert len(re.findall(r"^\*\*[^*]+\.\*\*$", part, re.MULTILINE)) == 1, f"{guarantee} has one sentence in bold"


def test_what_the_guarantees_rest_on_exists() -> None:
    clauses = {f"{section}.{clause}" for section, clause in document.clauses()}
    sentences = GUARANTEES.split("## That the properties bite")[0]  # behind it stand tables with numbers of other kinds
    assert set(re.findall(r"\b\d{1,2}\.\d{1,2}\b", sentences)) - clauses == set()
    reference = document.ROOT / "reference"
    for line in re.findall(r"- Rests on: (.*?)(?=\n- )", GUARANTEES, re.DOTALL):
        for name in re.findall(r"`([a-z_.]+)`", line):
            place = reference / name.replace(".", "/")
            assert any(path.exists() for path in (place, place.with_suffix(".py"), place.parent.with_suffix(".py"))), name
    assert recovery_bound_s.__name__ in GUARANTEES


def test_every_strategy_stands_on_its_page() -> None:
    named = set(re.findall(r"`(\w+)\(", document.page("strategies.md")))
    strategies = {name for name in testing.__all__ if name.islower()}
    assert named == strategies - {testing.hurried.__name__}, "it is a function of policies"


def test_the_glossary_has_every_word() -> None:
    defined = re.findall(r"^([a-z][a-z -]*)\n  \S", GLOSSARY, re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert {word.strip() for word in WORDS.replace("\n", " ").split(",")} - set(defined) == set()


def test_the_modules_of_one_evening_exist_and_are_as_few_lines_as_is_said() -> None:
    _, _, rest = document.page("architecture.md").partition("## One evening with the code\n")
    evening, _, _ = rest.partition("\n## ")
    modules = re.findall(r"`([\w/]+\.py)`", evening)
    (said,) = re.findall(r"about ([\d,]+) lines", evening)
    lines = sum(len((document.ROOT / module).read_text().splitlines()) for module in modules)
    assert len(modules) == 20
    assert 0.9 * int(said.replace(",", "")) < lines <= int(said.replace(",", ""))
