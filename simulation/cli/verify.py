"""`steadywire verify`: runs the experiments of the validation and prints their numbers."""

import os
import sys
from pathlib import Path as FilePath

from rich.progress import Progress

from reference.cli.files import check_writable, writing
from reference.cli.output import Output
from reference.protocol.errors import ConfigError
from simulation.validation import catalogue, report
from simulation.validation.experiment import REPLICATIONS_MIN, Number
from simulation.validation.report import Verification
from simulation.validation.run import verify

AGREES, DIFFERS = 0, 1


def verify_command(
    *,
    families: tuple[str, ...] = (),
    is_quick: bool = False,
    jobs: int | None = None,
    seed: int = 1,
    markdown: FilePath | None = None,
    json: FilePath | None = None,
) -> int:
    """Returns the exit code. `jobs` None: one for each processor. Raises ConfigError."""
    for family in families:
        if family not in catalogue.FAMILIES:
            raise ConfigError(f"there is no family {family!r}; choose from {', '.join(catalogue.FAMILIES)}")
    check_writable(markdown, json)
    numbers = _run(families, is_quick, jobs or len(os.sched_getaffinity(0)), seed)
    outcome = Verification(seed, is_quick, families, tuple(numbers))
    if markdown is not None:
        with writing(markdown):
            markdown.write_text(report.to_markdown(outcome), encoding="utf-8")
    if json is not None:
        with writing(json):
            json.write_bytes(report.to_json(outcome))
    for sentence in report.summary(outcome):
        print(sentence)
    for number in outcome.wrong:
        print(report.line(number), file=sys.stderr)
    return DIFFERS if outcome.wrong else AGREES


def _run(families: tuple[str, ...], is_quick: bool, jobs: int, seed: int) -> list[Number]:
    experiments = catalogue.chosen(families, is_quick=is_quick)
    if not sys.stdout.isatty():

        def print_lines(numbers: list[Number]) -> None:
            for number in numbers:
                print(report.line(number))

        return verify(experiments, seed=seed, is_quick=is_quick, jobs=jobs, done=print_lines)
    console = Output()
    gathered: list[Number] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("experiments", total=len(experiments))

        def show(numbers: list[Number]) -> None:
            progress.advance(task)
            if gathered and gathered[0].family != numbers[0].family:
                console.print(report.table(gathered))
                gathered.clear()
            gathered.extend(numbers)

        numbers = verify(experiments, seed=seed, is_quick=is_quick, jobs=jobs, done=show)
    console.print(report.table(gathered))
    replications = f"at least {REPLICATIONS_MIN} replications each"
    console.print(f"resolution: {report.RESOLUTION}; {replications}", highlight=False)
    return numbers
