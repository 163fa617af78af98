"""The report of a verification, for a terminal, as plain lines, as Markdown and as JSON. Equal numbers give equal text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec
from rich.table import Table

from simulation.validation.experiment import STANDARD_ERRORS_MAX, Number

COLOURS = {"agrees": "green", "differs": "bold red", "too imprecise": "bold yellow"}
HEADINGS = ("experiment", "quantity", "estimate", "reference", "standard error", "z", "resolution", "")
RESOLUTION = (
    f"the smallest difference that would have been noticed, {STANDARD_ERRORS_MAX} standard errors, relative to the reference"
)


@dataclass(frozen=True, slots=True)
class Verification:
    """All numbers, and how they were made."""

    seed: int
    is_quick: bool
    families: tuple[str, ...]
    """Which families were chosen; empty: all."""
    numbers: tuple[Number, ...]

    @property
    def wrong(self) -> tuple[Number, ...]:
        return tuple(number for number in self.numbers if not number.is_right)


def row(number: Number) -> tuple[str, ...]:
    """One number, as the columns of `HEADINGS`."""
    is_exact = not number.standard_error
    quantity = f"{number.quantity} ({number.unit})" if number.unit else number.quantity
    return (
        f"{number.experiment}({number.parameters})",
        quantity,
        f"{number.estimate:.5g}",
        f"{number.reference:.5g}",
        "exact" if is_exact else f"{number.standard_error:.2g}",
        "" if is_exact and not number.z else f"{number.z:+.2f}",
        "" if is_exact else f"{100 * number.resolution:.1f} %",
        number.verdict,
    )


def table(numbers: Sequence[Number]) -> Table:
    """The numbers of one family, for a terminal."""
    made = Table(*HEADINGS, title=numbers[0].family, title_justify="left")
    for column in (2, 3, 4, 5, 6):
        made.columns[column].justify = "right"
    before = ""
    for number in numbers:
        experiment, *others, verdict = row(number)
        colour = COLOURS[number.verdict]
        made.add_row("" if experiment == before else experiment, *others, f"[{colour}]{verdict}[/{colour}]")
        before = experiment
    return made


def line(number: Number) -> str:
    """One number as a plain line."""
    experiment, quantity, estimate, reference, error, z, _, verdict = row(number)
    estimate += f" +- {error}" if number.standard_error else ""
    remarks = "".join(f"; {remark}" for remark in (z and f"z {z}", number.note) if remark)
    return f"{verdict}: {number.family}: {experiment}: {quantity}: {estimate}, expected {reference}{remarks}"


def summary(outcome: Verification) -> list[str]:
    """The conclusions from all numbers."""
    numbers, wrong = outcome.numbers, outcome.wrong
    random = [number for number in numbers if number.standard_error and math.isfinite(number.z)]
    lines = [
        f"{len(numbers) - len(wrong)} of {len(numbers)} numbers agree with theory within {STANDARD_ERRORS_MAX} standard errors"
    ]
    if random:
        mean_square = sum(number.z**2 for number in random) / len(random)
        largest = max(random, key=lambda number: abs(number.z))
        lines.append(
            f"z over the {len(random)} that have chance in them: mean square {mean_square:.2f} (1 is right), largest "
            f"{largest.z:+.2f} ({largest.family}: {largest.quantity})"
        )
    return lines


def to_markdown(outcome: Verification) -> str:
    """A page: the summary, and a table for each family."""
    chosen = "".join(f" --family {family}" for family in outcome.families)
    command = f"steadywire verify{chosen}{' --quick' if outcome.is_quick else ''} --seed {outcome.seed} --markdown FILE"
    parts = [
        "# What the simulator reproduces",
        "",
        f"Made by `{command}`. Each row is one quantity of one experiment: what the simulator gave,",
        f"what theory says, and how far apart they are in standard errors (z). Resolution is {RESOLUTION}.",
        "",
        *(f"- {sentence}" for sentence in summary(outcome)),
    ]
    for family, numbers in groupby(outcome.numbers, key=lambda number: number.family):
        parts += ["", f"## {family}", "", f"| {' | '.join(HEADINGS)} |", "|---|---|--:|--:|--:|--:|--:|---|"]
        before = ""
        for number in numbers:
            experiment, *others = row(number)
            others[-1] += f" ({number.note})" if number.note else ""
            parts.append(f"| {'' if experiment == before else f'`{experiment}`'} | {' | '.join(others)} |")
            before = experiment
    return "\n".join(parts) + "\n"


def to_json(outcome: Verification) -> bytes:
    """Everything; values that are not finite are null."""
    return msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n"
