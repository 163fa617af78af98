"""`steadywire diagram`: print a stretch of a trace as a sequence diagram, and draw it."""

import sys
from pathlib import Path

from reference.protocol.errors import ConfigError
from simulation.results.diagrams import message_log_of, sequence_diagram
from simulation.results.plots import save
from simulation.trace.trace import Trace

LINES_MAX = 10_000
"""Lines that are printed at most."""


def diagram_command(
    path: Path, from_s: float, to_s: float | None, clients: tuple[str, ...], png: Path | None, everything: bool
) -> int:
    """Print a stretch of a trace's file, and draw it to `png`; returns the exit code. Raises ConfigError, OSError."""
    if png is not None and png.suffix.lower() != ".png":
        raise ConfigError(f"--png {png}: the file name must end in .png")
    message_log = message_log_of(Trace.read(path), from_s, to_s, clients)
    message_log = message_log if everything else message_log.without_keepalive()
    lines = list(message_log.lines())
    for line in lines[:LINES_MAX]:
        print(line)
    if len(lines) > LINES_MAX:
        print(f"... and {len(lines) - LINES_MAX} more; make the stretch shorter with --from, --to or --client")
    if not message_log.messages:
        print("no frames in this stretch: a trace has them if its scenario says `record_frames = true`", file=sys.stderr)
    if png is not None:
        figure = sequence_diagram(message_log, title=f"{path.name}, from {from_s:g} s")
        try:
            save(figure, png)
        except OSError as error:
            raise ConfigError(f"cannot write {png}: {error.strerror or error}") from None
    return 0
