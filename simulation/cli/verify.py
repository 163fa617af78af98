"""`steadywire verify`: runs the experiments of the validation and prints their numbers."""

import os
import sys
from pathlib import Path as FilePath

from rich.progress import Progress

from reference.cli.output import Output
from reference.protocol.errors import ConfigError
from simulation.cli.files import check_writable, writing
from simulation.validation import catalogue, report
from simulation.validation.experiment import REPLICATIONS_MIN, Number
from simulation.validation.report import Verification
from simulation.validation.run import verify

AGREES, DIFFERS, BAD_INPUT = 0, 1, 2
SEED = 1


def verify_command(
    *,
    families: tuple[str, ...] = (),
    is_quick: bool = False,
    jobs: int | None = None,
    seed: int = SEED,
    markdown: FilePath | None = None,
    json: FilePath | None = None,
) -> int:
    """Returns the exit code. `jobs` None: one for each processor."""
    try:
        _check(families, jobs, seed)
        check_writable(markdown, json)
        numbers = _run(families, is_quick, jobs or len(os.sched_getaffinity(0)), seed)
        outcome = Verification(seed, is_quick, tuple(numbers))
        if markdown is not None:
            with writing(markdown):
                markdown.write_text(report.to_markdown(outcome), encoding="utf-8")
        if json is not None:
            with writing(json):
                json.write_bytes(report.to_json(outcome))
    except ConfigError as error:
        return _complain(str(error))
    for sentence in report.summary(outcome):
        print(sentence)
    for number in outcome.wrong:
        print(report.line(number), file=sys.stderr)
    return DIFFERS if outcome.wrong else AGREES


def _check(families: tuple[str, ...], jobs: int | None, seed: int) -> None:
    for family in families:
        if family not in catalogue.FAMILIES:
            raise ConfigError(f"there is no family {family!r}; choose from {', '.join(catalogue.FAMILIES)}")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: give at least 1")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed}: give a whole number from 0 to 2**63 - 1")


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


def _complain(message: str) -> int:
    print(f"steadywire verify: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
