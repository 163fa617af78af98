"""The report of a run: verdicts by case and by clause, for a terminal and as JSON.

A clause is *failed* if a case found it broken; *passed* if a case that exercises it passed and none found it broken; *not
exercised* if no case that cites it was run or applied; and *not testable* if no test over a network can judge it, with the
reason.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from simulation.conformance.cases import CaseVerdict, KitCase
from simulation.conformance.clauses import Clause, Side, clauses_of

FORMAT = 1
ClauseStatus = Literal["passed", "failed", "not exercised", "not testable"]
_STYLE = {"passed": "green", "failed": "bold red", "not applicable": "yellow"}


@dataclass(frozen=True, slots=True)
class ClauseVerdict:
    """The verdict on one clause; `cases` exercised it, `why` is the reason if none can."""

    clause: str
    summary: str
    status: ClauseStatus
    cases: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """A finished run; `judged` is the URL or the command, `took_s` in seconds."""

    side: Side
    judged: str
    verdicts: tuple[CaseVerdict, ...]
    took_s: float

    @property
    def has_passed(self) -> bool:
        """Whether no case failed."""
        return all(verdict.status != "failed" for verdict in self.verdicts)

    def count(self, status: str) -> int:
        return sum(verdict.status == status for verdict in self.verdicts)

    def clauses(self) -> list[ClauseVerdict]:
        """One verdict for each clause that binds this side, in the order of the document."""
        return [self._clause(clause) for clause in clauses_of(self.side)]

    def _clause(self, clause: Clause) -> ClauseVerdict:
        number = clause.number
        broken = tuple(verdict.case for verdict in self.verdicts if verdict.clause == number)
        passed = tuple(verdict.case for verdict in self.verdicts if number in verdict.clauses and verdict.status == "passed")
        if broken:
            return ClauseVerdict(number, clause.summary, "failed", broken)
        if passed:
            return ClauseVerdict(number, clause.summary, "passed", passed)
        status: ClauseStatus = "not testable" if clause.why_unseen(self.side) else "not exercised"
        return ClauseVerdict(number, clause.summary, status, (), clause.why_unseen(self.side))

    def to_json(self) -> str:
        """The whole report; `format` changes when a field changes its meaning."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "side": self.side,
            "judged": self.judged,
            "tookS": round(self.took_s, 1),
            "passed": self.count("passed"),
            "failed": self.count("failed"),
            "notApplicable": self.count("not applicable"),
            "cases": [_camel(asdict(verdict)) for verdict in self.verdicts],
            "clauses": [_camel(asdict(clause)) for clause in self.clauses()],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def show_verdict(verdict: CaseVerdict, console: Console) -> None:
    """One line, as soon as a case is judged, and a second one if there is something to say."""
    style = _STYLE[verdict.status]
    clauses = escape(" ".join(verdict.clauses))
    console.print(
        f"[{style}]{verdict.status:>14}[/]  {escape(verdict.case)}  [dim]{clauses}  {verdict.took_s:.1f} s[/]", soft_wrap=True
    )
    if verdict.message:
        where = f"{verdict.clause}: " if verdict.clause else ""
        console.print(f"{'':16}{escape(where + verdict.message)}", soft_wrap=True)


def show_report(report: ConformanceReport, console: Console) -> None:
    """The summary: failures again, the clauses that were exercised, and those that were not."""
    console.print()
    for verdict in report.verdicts:
        if verdict.status == "failed":
            console.print(f"[bold red]FAILED[/] {escape(verdict.case)}: {escape(verdict.summary)}", soft_wrap=True)
            console.print(f"       protocol {verdict.clause}: {escape(verdict.message)}", soft_wrap=True)
    clauses = report.clauses()
    counts = Counter(clause.status for clause in clauses)
    for status in ("failed", "passed", "not exercised"):
        numbers = [clause.clause for clause in clauses if clause.status == status]
        if numbers:
            console.print(f"clauses {status} ({len(numbers)}): {', '.join(numbers)}", soft_wrap=True, highlight=False)
    if counts["not testable"]:
        console.print(f"clauses that no test over a network can judge ({counts['not testable']}):")
        for clause in clauses:
            if clause.status == "not testable":
                console.print(
                    f"  {clause.clause:<6} {escape(clause.summary)}: {escape(clause.why)}", soft_wrap=True, highlight=False
                )
    total = len(report.verdicts)
    text = f"{report.count('passed')} of {total} cases passed, {report.count('failed')} failed, "
    text += f"{report.count('not applicable')} not applicable, in {report.took_s:.1f} s"
    console.print(f"[{'green' if report.has_passed else 'bold red'}]{text}[/]", highlight=False)


def show_cases(cases: Sequence[KitCase[Any]], console: Console) -> None:
    """All cases with their clauses, for --list."""
    for case in cases:
        console.print(
            f"{escape(case.name):<32} {escape(case.summary)} [dim]({' '.join(case.clauses)})[/]", soft_wrap=True, highlight=False
        )


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    return {"tookS" if name == "took_s" else name: value for name, value in fields.items()}
