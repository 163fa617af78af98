"""The command line: its messages and exit codes. Each command is tested in its own folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from cyclopts import App

from reference.cli import runner
from reference.protocol.errors import ConfigError
from simulation.cli import run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "frobnicate"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "99999"], "65535"),
        (["simulate"], "SCENARIO"),
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


STUDY = 'version = 1\nname = "s"\nscenario = "scenario.toml"\nreplications = 2\nfigures = ["clients"]\n'
MINIMAL = 'version = 1\nname = "x"\nhorizon_s = 2\n[[groups]]\nname = "a"\nclients = 2\n'


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["simulate", "first_look", "--seed", "1.5"], "not a whole number"),
        (["serve", "--port", "18997.6"], "not a whole number"),
        (["diagram", "trace.jsonl", "--from", "nan"], "not a finite number"),
        (["diagram", "trace.jsonl", "--png", "figure.xyz"], ".png"),
        (["diagram", "missing.jsonl"], "missing.jsonl cannot be read: No such file or directory"),
        (["what-if", "missing.jsonl"], "missing.jsonl"),
        (["verify", "--quick", "--json", "no-such-folder/numbers.json"], "no-such-folder/numbers.json cannot be written"),
        (["fidelity", "steady", "--json", "no-such-folder/figures.json"], "no-such-folder/figures.json cannot be written"),
        (["fidelity", "--repeat", "1.5"], "not a whole number"),
        (["fidelity", "steady", "steady", "--keep", "kept"], "steady is given twice; --repeat runs it more than once"),
        (["fidelity", "scenario.toml", "copy.toml"], "scenario.toml and copy.toml have the same name, 'x'"),
        (["sweep", "study.toml", "--out", "bom.toml"], "bom.toml cannot be written"),
        (["simulate", "deep.toml"], "nested too deeply"),
        (["simulate", "deep.json"], "nested too deeply"),
        (["serve", "--config", "bom.toml"], "port"),
    ],
)
def test_odd_values_and_files_are_refused_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep.toml").write_text(f"{MINIMAL}x = {'[' * 5000}{']' * 5000}")
    (tmp_path / "deep.json").write_text(f'{{"version": 1, "x": {"[" * 50_000}{"]" * 50_000}}}')
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfport = -1\r\n")
    (tmp_path / "scenario.toml").write_text(MINIMAL)
    (tmp_path / "copy.toml").write_text(MINIMAL)
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert says in printed.err


def test_a_byte_order_mark_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("a.toml", MINIMAL), ("a.json", '{"version": 1, "name": "x", "horizon_s": 2, "groups": [{"name": "a"}]}')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert run(["simulate", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parallel
def test_a_closed_pipe_and_a_full_disk_end_a_command_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        piped = run_in_another_process(["scenarios"], stdout=write_end)
    finally:
        os.close(write_end)
    assert (piped.returncode, piped.stderr) == (141, "")
    with open("/dev/full", "w") as full:
        refused = run_in_another_process(["scenarios"], stdout=full)
    assert (refused.returncode, refused.stderr) == (2, "steadywire: cannot write the output: No space left on device\n")


def test_a_server_whose_output_cannot_be_written_says_so_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        refused = run_in_another_process(["serve", "--port", "0", "--store", "memory:"], stdout=full)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == "steadywire: cannot write the output: No space left on device"
    assert "Traceback" not in refused.stderr


def test_errors_that_left_a_nursery_end_a_command_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()

    def raises(error: BaseException) -> None:
        raise ExceptionGroup("a", [error]) if isinstance(error, Exception) else BaseExceptionGroup("a", [error])

    app.command(lambda: raises(KeyboardInterrupt()), name="interrupted")
    app.command(lambda: raises(ConfigError("no such thing")), name="refused")
    app.command(lambda: raises(ZeroDivisionError()), name="broken")
    assert runner.run(app, ["interrupted"]) == 130
    assert runner.run(app, ["refused"]) == 2
    assert capsys.readouterr().err == "steadywire refused: no such thing\n"
    with pytest.raises(ExceptionGroup):  # a bug of ours is not hidden
        runner.run(app, ["broken"])


@pytest.mark.parametrize(
    "command", ["demo", "simulate", "serve", "verify", "diagram", "what-if", "bench", "token", "conformance"]
)
def test_help_has_none_of_the_frameworks_artefacts(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    printed = capsys.readouterr().out
    for artefact in ("--empty", "default: ()", "default: False", "--scenario", "--no-quick"):
        assert artefact not in printed


def test_an_interrupt_during_the_imports_ends_quietly() -> None:
    code = """if True:
        import sys
        class CtrlC:
            def find_spec(self, name, *_):
                if name == "cyclopts":
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, CtrlC())
        from simulation.cli import main
        main()
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def run_in_another_process(arguments: list[str], stdout: int | IO[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulation.cli", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parallel
def test_the_command_line_does_not_depend_on_the_order_of_imports() -> None:
    first = "import reference.cli.serve_command, reference.cli.migrate_command, simulation.cli.simulate"
    code = f"{first}; simulation.cli.run(['--help'])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT, timeout=60)


@pytest.mark.slow
@pytest.mark.parallel
def test_a_table_into_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "scenario.toml").write_text(MINIMAL)
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        piped = run_in_another_process(
            ["sweep", str(tmp_path / "study.toml"), "--workers", "1", "--out", str(tmp_path)], write_end
        )
    finally:
        os.close(write_end)
    assert (piped.returncode, piped.stderr) == (141, "")
