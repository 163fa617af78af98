"""Fidelity as tables: for a terminal, as Markdown for the documentation, as JSON for programs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.table import Table

from reference.protocol.errors import ConfigError
from simulation.processes.fidelity.comparison import RELATIVE_MAX, SECONDS_MAX, Difference
from simulation.processes.fidelity.costs import MeasuredCosts
from simulation.processes.fidelity.machine import BUSY_SHARE_MAX

SUMMARY_HEADINGS = ("scenario", "measure", "", "simulated", "real", "largest difference", "within", "says no")
"""Over all repeats: medians, the largest difference, and in how many of them the figure is within the tolerance."""
HEADINGS = ("scenario", "measure", "", "simulated", "real", "difference", "95 % interval", "samples", "agrees")
LATE_MS_MAX = 50.0
"""Above this delay, at the 95th percentile, the machine counts as too busy."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario. late_p95_ms: how late the process of the real clients was, at the 95th percentile. busy_before: the share of
    the processors' time used by other programs before the start."""

    scenario: str
    seed: int
    clients: int
    late_p95_ms: float
    busy_before: float = 0.0
    repetition: int = 1
    differences: tuple[Difference, ...]

    @property
    def is_judged(self) -> bool:
        """Whether the machine was idle otherwise, and could keep up."""
        return self.late_p95_ms <= LATE_MS_MAX and self.busy_before <= BUSY_SHARE_MAX

    @property
    def agrees(self) -> bool:
        """Whether it was judged, at least one figure could be compared, and none differs."""
        verdicts = [difference.verdict for difference in self.differences]
        return self.is_judged and "no" not in verdicts and any(verdict in ("yes", "perhaps") for verdict in verdicts)


class FidelityReport(msgspec.Struct, frozen=True, kw_only=True):
    costs: MeasuredCosts
    scenarios: tuple[Compared, ...]

    @property
    def agrees(self) -> bool:
        return all(compared.agrees for compared in self.scenarios)

    def write(self, path: Path) -> None:
        """Write it as JSON. Raises ConfigError."""
        _write(path, msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n")

    def write_markdown(self, path: Path) -> None:
        """Write the table as Markdown. Raises ConfigError."""
        lines = _markdown(HEADINGS, self.rows())
        if self.is_repeated:
            lines = [*_markdown(SUMMARY_HEADINGS, self.summary()), "", *lines]
        _write(path, "\n".join(lines) + "\n")

    @property
    def is_repeated(self) -> bool:
        return any(compared.repetition > 1 for compared in self.scenarios)

    def summary(self) -> Iterable[Sequence[str]]:
        """One row for each figure of each scenario, over all its repeats that were judged."""
        figures: dict[tuple[str, str, str], list[Difference]] = {}
        for compared in self.scenarios:
            for each in compared.differences:
                found = figures.setdefault((compared.scenario, each.measure, each.figure), [])
                if compared.is_judged and each.simulated is not None and each.real is not None:
                    found.append(each)
        for (scenario, measure, figure), found in figures.items():
            gaps = [each.difference for each in found if each.difference is not None]
            yield (
                scenario,
                measure,
                figure,
                _shown(median([each.simulated for each in found if each.simulated is not None]) if found else None, found),
                _shown(median([each.real for each in found if each.real is not None]) if found else None, found),
                _shown(max(gaps, key=abs, default=None), found),
                f"{sum(bool(each.agrees) for each in found)} of {len(found)}" if found else "not judged",
                str(sum(each.verdict == "no" for each in found)),
            )

    def rows(self) -> Iterable[Sequence[str]]:
        for compared in self.scenarios:
            for difference in compared.differences:
                name = compared.scenario if compared.repetition == 1 else f"{compared.scenario} ({compared.repetition})"
                yield (name, *_cells(difference, is_judged=compared.is_judged))


def print_report(report: FidelityReport, console: Console) -> None:
    if console.is_terminal:
        table = Table(*HEADINGS)
        for row in report.rows():
            table.add_row(*row, style="red" if row[-1] == "no" else "")
        console.print(table)
        if report.is_repeated:
            summary = Table(*SUMMARY_HEADINGS)
            for row in report.summary():
                summary.add_row(*row)
            console.print(summary)
    else:
        if report.is_repeated:
            for line in _markdown(SUMMARY_HEADINGS, report.summary()):
                console.print(line, soft_wrap=True, highlight=False)
        for scenario, name, figure, ours, theirs, gap, interval, samples, agrees in report.rows():
            line = (
                f"{scenario}: {name} {figure}: simulated {ours}, real {theirs}, difference {gap} ({interval}), samples {samples}"
            )
            console.print(f"{line}, agrees: {agrees}", soft_wrap=True, highlight=False)
    for compared in report.scenarios:
        if not compared.is_judged:
            late = f"the real clients' process was late by {compared.late_p95_ms:.0f} ms at the 95th percentile"
            busy = f"{compared.busy_before:.0%} of the processors' time was taken before"
            console.print(f"{compared.scenario}: {late}, {busy}; this machine was too busy, so nothing is judged", style="yellow")
    rule = f"within {RELATIVE_MAX:.0%} of the real figure, or within {SECONDS_MAX * 1000:g} ms"
    verdict = "No figure differs" if report.agrees else "Not every figure agrees"
    console.print(f"{verdict} ({rule}).", style="bold green" if report.agrees else "bold red")


def _cells(difference: Difference, *, is_judged: bool) -> tuple[str, ...]:
    def show(value: float | None) -> str:
        return _shown(value, [difference])

    interval = "-" if difference.low is None else f"{show(difference.low)} to {show(difference.high)}"
    return (
        difference.measure,
        difference.figure,
        show(difference.simulated),
        show(difference.real),
        show(difference.difference),
        interval,
        f"{difference.samples_simulated} / {difference.samples_real}",
        difference.verdict if is_judged else "not judged",
    )


def _shown(value: float | None, differences: Sequence[Difference]) -> str:
    """In the unit of these figures."""
    if value is None:
        return "-"
    unit = differences[0].unit if differences else ""
    return f"{value * 1000:.1f} ms" if unit and abs(value) < 1 else f"{value:.3g} {unit}".strip()


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}", *(f"| {' | '.join(row)} |" for row in rows)]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; name another file") from None
