"""The command line. Each command lives where its work is done; here they only get their names and options.

Exit codes: 0 all is well, 1 the work was done and a guarantee did not hold, 2 it could not be done as asked (one line says why).
"""

import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError

from reference.cli.commands import migrate, serve, token
from simulation.cli.laboratory import diagram, replay, scenarios, simulate, verify, what_if
from simulation.cli.real_processes import bench, calibrate, demo, fidelity

app = App(
    name="steadywire",
    help="Real-time connections that survive bad networks, and a laboratory to study and tune them offline.",
    version=version("steadywire"),
)
for command in (demo, serve, token, migrate, simulate, scenarios, diagram, fidelity, calibrate, replay, what_if, verify, bench):
    app.command(command)


def run(arguments: list[str] | None = None) -> int:
    """Carry out a command line; returns the exit code."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"steadywire: {' '.join(str(error).split())} Try --help.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def main() -> None:
    """The console command `steadywire`."""
    sys.exit(run())
