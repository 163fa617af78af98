"""`steadywire diagram`: print an interval of a trace as a sequence diagram, and draw it."""

import sys
from pathlib import Path

from reference.cli.files import check_writable, reading, writing
from reference.protocol.errors import ConfigError
from simulation.results.diagrams import message_log_of, sequence_diagram
from simulation.results.plots import save
from simulation.trace.trace import Trace

LINES_MAX = 10_000
"""The most lines that are printed."""


def diagram_command(
    path: Path, from_s: float, to_s: float | None, clients: tuple[str, ...], png: Path | None, everything: bool
) -> int:
    """Print an interval of a trace's file, and draw it to `png`; returns the exit code. Raises ConfigError."""
    if png is not None and png.suffix.lower() != ".png":
        raise ConfigError(f"--png {png}: the file name must end in .png")
    check_writable(png)
    with reading(path):
        trace = Trace.read(path)
    message_log = message_log_of(trace, from_s, to_s, clients)
    message_log = message_log if everything else message_log.without_keepalive()
    lines = list(message_log.lines())
    for line in lines[:LINES_MAX]:
        print(line)
    if len(lines) > LINES_MAX:
        print(f"... and {len(lines) - LINES_MAX} more; make the interval shorter with --from, --to or --client")
    if not message_log.messages:
        print("no frames in this interval: a trace has them if its scenario says `record_frames = true`", file=sys.stderr)
    if png is not None:
        figure = sequence_diagram(message_log, title=f"{path.name}, from {from_s:g} s")
        with writing(png):
            save(figure, png)
    return 0
