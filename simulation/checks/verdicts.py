"""Verdicts: the findings of a checker, and the resulting verdict on a guarantee."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

from reference.protocol.timers import NS_PER_S

VIOLATIONS_KEPT = 20
SLACK_NS = 1_000
"""Times are computed from seconds in floating point, and rounded to ns."""
Status = Literal["held", "violated", "not exercised", "not checked"]
Findings = Iterator[str | None]
"""One item for each checked thing: None if it was right, else a sentence that says what was wrong."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one guarantee for one trace. `checked`: how many things were checked; `violated`: how many of them violated
    it.

    unchecked: what could not be checked because the trace does not have it, as text; "" if everything could.
    """

    guarantee: str
    sentence: str
    checked: int
    violated: int
    violations: tuple[str, ...]
    unchecked: str = ""

    @property
    def status(self) -> Status:
        if self.violated:
            return "violated"
        if self.checked:
            return "held"
        return "not checked" if self.unchecked else "not exercised"

    @property
    def ok(self) -> bool:
        """It was exercised, and held."""
        return self.status == "held"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(each)}</li>" for each in self.violations)
        head = f"<b>{self.guarantee}</b> {escape(self.status)} ({self.checked} checked): {escape(self.sentence)}"
        return f"<p>{head}</p><ul>{items}</ul>"

    def __str__(self) -> str:
        note = f"; not judged: {self.unchecked}" if self.unchecked else ""
        return f"{self.guarantee} {self.status} ({self.checked} checked{note}): {self.sentence}"


def judge(guarantee: str, sentence: str, findings: Findings, unchecked: str = "") -> Verdict:
    """Count the findings, and keep the first violations."""
    checked = violated = 0
    kept: list[str] = []
    for finding in findings:
        checked += 1
        if finding is not None:
            violated += 1
            if len(kept) < VIOLATIONS_KEPT:
                kept.append(finding)
    return Verdict(guarantee, sentence, checked, violated, tuple(kept), unchecked)


def seconds(at: int) -> str:
    return f"{at / NS_PER_S:.6f} s"


def when(at: int) -> str:
    return f"{seconds(at)}:"
