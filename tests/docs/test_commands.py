"""Every command of README and docs exists, and runs unchanged unless its page says why not."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from simulation.cli.commands import app
from tests.docs import document
from tests.docs.commands import NOT_RUN, PAGES, Command, Reader, steps_of

COMMANDS = {page: [step for step in steps_of(page) if isinstance(step, Command)] for page in PAGES}
REAL_TIME = re.compile(r"steadywire (?:serve|demo|bench|fidelity|conformance|proxy|lab)|curl ")
"""Commands that need a machine of their own: they talk to real servers, within real seconds."""


def test_pages_that_are_not_run_exist() -> None:
    assert not NOT_RUN.keys() - {page.name for page in PAGES}


def test_every_command_of_steadywire_exists_with_its_options() -> None:
    for commands in COMMANDS.values():
        for command in commands:
            for part in re.split(r"&&|\||;", command.line):
                words = shlex.split(part, comments=True)
                if words and words[0].removeprefix(".venv/bin/") == "steadywire" and "--version" not in words:
                    app.parse_args([word for word in words[1:] if word not in (">", "&")][: _end(words[1:])], exit_on_error=False)


def test_a_command_that_is_not_run_has_a_reason() -> None:
    for page, commands in COMMANDS.items():
        for command in commands:
            assert command.reason is None or len(command.reason.split()) >= 4, f"{page.name}: {command}"
            for place in re.findall(r"tests/[\w/.]+|\.ci/run", command.reason or ""):
                assert (document.ROOT / place.rstrip(".")).exists(), f"{page.name}: {command}"


def test_what_a_sentence_names_exists() -> None:
    """Commands and modules between backticks, with the options that they are named with."""
    for page in PAGES:
        sentences = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for span in re.findall(r"`((?:steadywire [a-z]|python -m )[^`]+)`", sentences):
            words = span.split()
            if words[0] == "python":
                assert find_spec(words[2]) is not None, f"{page.name}: {span}"
                continue
            command = app[words[1]]
            if command.default_command is None:  # a group of commands
                continue
            options = {name for argument in command.assemble_argument_collection() for name in argument.names}
            assert {word for word in words if word.startswith("--")} <= options, f"{page.name}: {span}"


def _run_of(page: Path) -> str:
    return "\n".join(command.line for command in COMMANDS[page] if command.reason is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[] if REAL_TIME.search(_run_of(page)) else [pytest.mark.parallel])
        for page in PAGES
        if _run_of(page)
    ],
)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        for step in steps_of(page):
            if not isinstance(step, Command):
                reader.save(*step)
            elif step.reason is None:
                done = reader.type(step.line)
                assert done is None or done.returncode == 0, f"{step.line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _end(words: list[str]) -> int:
    """Where the output is redirected, or the end."""
    return words.index(">") if ">" in words else len(words)
