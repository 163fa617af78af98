"""The kit agrees with docs/protocol.md: its tables, clauses and examples are those of the document."""

import inspect
import re

import pytest

from simulation.cli.conformance import conformance
from simulation.conformance import frames
from simulation.conformance.applications import REPORTS
from simulation.conformance.clauses import CLAUSES, Side, clauses_of
from simulation.conformance.client_bench import DEFAULTS
from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.server_bench import STATUS_OF
from simulation.conformance.server_cases import SERVER_CASES
from tests.docs import document

NAMES = {"client": CLIENT_CASES, "server": SERVER_CASES}


@pytest.mark.parametrize("name", [name for name in frames.TABLES if name != "bye"])
def test_a_table_is_that_of_the_document(name: str) -> None:
    written = [row[:3] for row in document.table(document.under(name))]
    assert [(field, known.kind, known.default) for field, known in frames.TABLES[name].items()] == written


def test_every_example_of_the_document_is_a_frame() -> None:
    kinds = {"client": frames.CLIENT_FRAMES, "server": frames.SERVER_FRAMES}
    count = 0
    for example in document.examples():
        if example.kind in kinds:
            frames.check_frame(example.json, kinds[example.kind])
        else:
            name = example.kind.split()[-1]
            frames.check_body(frames.parse(example.json), {"event": "Event", "problem": "HttpProblem"}.get(name, name))
        count += 1
    assert count > 20


def test_the_clauses_of_a_frame_are_those_under_which_it_stands() -> None:
    for kinds in (frames.CLIENT_FRAMES, frames.SERVER_FRAMES):
        for name, number in kinds.items():
            assert document.clause(number).lstrip().startswith(f"`{name}`"), (name, number)


def test_the_list_of_clauses_is_that_of_the_document() -> None:
    written = [f"{section}.{clause}" for section, clause in document.clauses() if section >= 3]
    assert [clause.number for clause in CLAUSES] == written


@pytest.mark.parametrize("side", ["server", "client"])
def test_every_clause_is_cited_by_a_case_or_says_why_it_cannot_be(side: Side) -> None:
    cited = {number for case in NAMES[side] for number in case.clauses}
    for clause in clauses_of(side):
        assert (clause.number in cited) != bool(clause.why_unseen(side)), clause


def test_every_citation_is_a_clause() -> None:
    written = {f"{section}.{clause}" for section, clause in document.clauses()}
    for case in (*SERVER_CASES, *CLIENT_CASES):
        assert set(case.clauses) <= written, case.name


def test_codes_and_statuses_are_those_of_the_document() -> None:
    assert {int(code): int(status) for code, status in document.table(document.clause("5.6"))} == STATUS_OF


def test_codes_of_rejections_are_those_of_the_document() -> None:
    rows = document.table(document.clause("6.7"))
    assert {row[0]: row[1] for row in rows} == dict.fromkeys(frames.RETRYABLE, "yes") | dict.fromkeys(frames.FINAL, "no")


def test_the_contract_of_a_program_is_written_down() -> None:
    page = document.page("conformance.md")
    for name in REPORTS:
        assert f'`{{"{name}": ' in page, name
    for name in DEFAULTS:
        assert f"`{name}`" in page, name
    for name in re.findall(r"`--([a-z-]+)", page):
        assert name.replace("-", "_") in inspect.signature(conformance).parameters or name == "list", name


def test_the_settings_that_a_client_is_taken_to_have_are_the_defaults_of_the_document() -> None:
    written = {row[0]: row[1] for row in document.table(document.under("ClientConfig"))}
    for name, value in DEFAULTS.items():
        if name not in ("policy", "sees_refused_upgrades"):  # not settings of ClientConfig
            assert float(written[name]) == value, name
