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
    """Run the chosen benchmarks. Returns 0, or 1 if a target was missed. Raises ConfigError if there is nothing to run.

    `root`: of the checkout, by default the one that this code is in.
    """
    root = root or Path(__file__).parents[2]
    for_server = ["--markdown", str(markdown.resolve())] if markdown else []
    for_server += ["--postgresql", postgresql] if postgresql else []
    if for_server and not server:
        raise ConfigError("--markdown and --postgresql are for --server")
    if not simulation and not server:
        raise ConfigError("choose what to measure: --simulation, --server, or both")
    if not (root / "tests" / "benchmarks" / "simulation.py").is_file():
        raise ConfigError(
            f"the benchmarks are not beside this installation ({root}): they belong to a checkout of the source; "
            "in one, install it with `pip install -e '.[bench]'` and run this again"
        )
    quickly = ["--quick"] if quick else []
    commands = []
    if simulation:
        commands.append(["tests.benchmarks.simulation", "--seed", str(seed), *quickly])
    if server:
        commands.append(["tests.benchmarks.server", *quickly, *for_server])
    codes = [subprocess.run([sys.executable, "-m", *command], cwd=root, check=False).returncode for command in commands]
    return 1 if any(codes) else 0
