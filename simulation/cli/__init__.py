"""The command line `steadywire`. This is the entry point. It imports the commands (`commands`) only when it runs, so that Ctrl-C
ends it quietly during the imports too. Exit codes and errors: `reference.cli.runner`.
"""

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (None: that of this process); returns the exit code."""
    try:
        from reference.cli import runner
        from simulation.cli.commands import app
    except KeyboardInterrupt:
        return INTERRUPTED
    return runner.run(app, arguments)


def main() -> None:
    """The console command `steadywire`."""
    sys.exit(run())
