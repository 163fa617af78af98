"""The command line: what it says, and its exit codes. The commands themselves are tested where they live."""

import pytest

from simulation.cli import run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "frobnicate"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "99999"], "65535"),
        (["simulate"], "scenario"),
        (["simulate", "no-such-file.toml"], "no-such-file.toml"),
        (["demo", "--clients", "1"], "--clients"),
        (["serve", "--store", "postgres://here"], "postgres"),
        (["serve", "--host", "0.0.0.0", "--store", "memory:"], "--secret-file"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert says in printed.err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in ("demo", "serve", "simulate"):
        assert command in printed
