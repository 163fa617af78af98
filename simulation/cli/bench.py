"""`steadywire bench`: run the benchmarks, which live beside the tests of a checkout and not in the installed package."""

import subprocess
import sys
from pathlib import Path

from reference.protocol.errors import ConfigError


def bench_command(
    *,
    simulation: bool,
    server: bool,
    quick: bool,
    seed: int,
    markdown: Path | None = None,
    postgresql: str | None = None,
    root: Path | None = None,
) -> int:
    """Run what is asked for. Returns 0, 1 if a target was missed, 2 if there is nothing that could be run.

    `root`: of the checkout, by default the one that this code is in.
    """
    try:
        for_server = ["--markdown", str(markdown.resolve())] if markdown else []
        for_server += ["--postgresql", postgresql] if postgresql else []
        if for_server and not server:
            raise ConfigError("--markdown and --postgresql are for --server")
        return _run(simulation, for_server if server else None, quick, seed, root or Path(__file__).parents[2])
    except ConfigError as error:
        print(f"steadywire bench: {error}", file=sys.stderr)
        return 2


def _run(simulation: bool, for_server: list[str] | None, quick: bool, seed: int, root: Path) -> int:
    if not simulation and for_server is None:
        raise ConfigError("say what to measure: --simulation, --server, or both")
    if not (root / "tests" / "benchmarks" / "simulation.py").is_file():
        raise ConfigError(
            f"the benchmarks are not beside this installation ({root}): they belong to a checkout of the source; "
            "in one, install it with `pip install -e '.[bench]'` and run this again"
        )
    commands = []
    if simulation:
        commands.append(["tests.benchmarks.simulation", "--seed", str(seed), *(["--quick"] if quick else [])])
    if for_server is not None:
        commands.append(["tests.benchmarks.server", *(["--quick"] if quick else []), *for_server])
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=root, check=False).returncode for command in commands]
    return 1 if any(codes) else 0
