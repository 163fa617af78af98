"""Runs a command line: parses it, executes it, and turns every result into an exit code and at most one line on stderr.

0    done, and nothing is wrong
1    done, and something is wrong (a guarantee was violated, a figure differs)
2    it could not be done as asked; one line says why and what to do
130  interrupted with Ctrl-C
141  the reader of the output has gone (a closed pipe, as in `steadywire scenarios | head`)
"""

import contextlib
import errno
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter, Token, validators

from reference.extras import advice
from reference.protocol.errors import SteadywireError

DONE, FOUND, CANNOT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number; a fraction is refused instead of rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _finite(_: Any, tokens: Sequence[Token]) -> float:
    """A finite number."""
    text = tokens[0].value
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


WHOLE = Parameter(converter=_whole)
"""For parameters of type int."""
FINITE = Parameter(converter=_finite)
"""For parameters of type float."""
FLAG = Parameter(negative="", show_default=False)
"""For a switch that is off by default and has no opposite."""
MANY = Parameter(negative_iterable="", show_default=False)
"""For an option that may be given several times."""
Seed = Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=0, lt=2**63))]


def run(app: App, arguments: Sequence[str] | None = None) -> int:
    """Execute a command line; returns the exit code. `arguments` None: those of this process."""
    try:
        try:
            with _outcomes_raised():
                result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        finally:
            _flush()
    except CycloptsError as error:
        return _complain(f"{' '.join(str(error).split()).rstrip('.')}. Try --help.")
    except ModuleNotFoundError as error:
        said = advice(error)
        if said is None:
            raise
        return _complain(said)
    except SteadywireError as error:
        return _complain(" ".join(str(error).split()), _command_of(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        _discard_output()
        if error.errno == errno.EPIPE:
            return PIPE_CLOSED
        what = "cannot write the output" if error.filename is None else str(error.filename)
        return _complain(f"{what}: {error.strerror or error}")
    return result if isinstance(result, int) else DONE


@contextlib.contextmanager
def _outcomes_raised() -> Iterator[None]:
    """Errors that end a command leave a nursery in an exception group; raise them without the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        for kind in (KeyboardInterrupt, SteadywireError, OSError):
            found, rest = group.split(kind)
            if found is not None and rest is None:
                raise _first(found) from None
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _flush() -> None:
    """Write buffered output now, while an error can still be reported."""
    if sys.exc_info()[0] is None:
        sys.stdout.flush()


def _discard_output() -> None:
    """Nothing more can be written; without this the interpreter would fail again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command_of(arguments: Sequence[str] | None) -> str:
    """The name of the command that ran: it is the first argument."""
    return f" {(sys.argv[1:] if arguments is None else arguments)[0]}"


def _complain(message: str, command: str = "") -> int:
    with contextlib.suppress(OSError):
        print(f"steadywire{command}: {message}", file=sys.stderr)
    return CANNOT
