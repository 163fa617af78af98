"""The console that commands print to."""

import errno

from rich.console import Console


class Output(Console):
    """A console that lets the command line (`runner`) handle a closed pipe; rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "the reader of the output has gone")
