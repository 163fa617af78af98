"""A command of `steadywire` whose processor time is attributed to functions: for `tests.benchmarks.server --profile`.

    .venv/bin/python -m tests.benchmarks.profiled OUT serve --port 8765

From SIGUSR1 on, the stack of the main thread is sampled with each tick of the process's processor time, a few milliseconds (so
several hundred samples take seconds). What a function spends in C, and in the kernel, counts as its own. At the end OUT gets the
shares: of each module and each function itself, and of each function with all that it calls. The functions run at full speed,
unlike under cProfile.
"""

import atexit
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_S = 0.001
"""Less than a tick: the kernel rounds it up."""
SHOWN = 40
"""Functions in each list."""


class Samples:
    """The samples so far."""

    def __init__(self) -> None:
        self.count = 0
        self._own: Counter[CodeType] = Counter()
        self._with_callees: Counter[CodeType] = Counter()

    def take(self, _number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        self.count += 1
        if frame is not None:
            self._own[frame.f_code] += 1
        stack = set()
        while frame is not None:
            stack.add(frame.f_code)
            frame = frame.f_back
        self._with_callees.update(stack)

    def report(self) -> str:
        """The shares, the largest first."""
        modules: Counter[str] = Counter()
        for code, count in self._own.items():
            modules[_module(code)] += count
        functions = Counter({_name(code): count for code, count in self._own.items()})
        callers = Counter({_name(code): count for code, count in self._with_callees.items()})
        parts = (("modules", modules), ("functions", functions), ("functions with what they call", callers))
        lines = [f"{self.count} samples"]
        for title, shares in parts:
            lines += ["", title, *(f"{count / self.count:7.1%}  {name}" for name, count in shares.most_common(SHOWN))]
        return "\n".join(lines) + "\n"


def _module(code: CodeType) -> str:
    """The file, from its package on."""
    parts = Path(code.co_filename).with_suffix("").parts
    for root in ("site-packages", "reference", "simulation"):
        if root in parts:
            return ".".join(parts[parts.index(root) + (root == "site-packages") :])
    return parts[-1]


def _name(code: CodeType) -> str:
    return f"{_module(code)}:{code.co_firstlineno} {code.co_qualname}"


def main() -> None:
    out, *arguments = sys.argv[1:]
    samples = Samples()

    @atexit.register
    def write() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if samples.count:
            Path(out).write_text(samples.report(), encoding="utf-8")

    signal.signal(signal.SIGPROF, samples.take)
    signal.signal(signal.SIGUSR1, lambda *_: signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S))
    sys.argv[1:] = arguments
    runpy.run_module("simulation.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
