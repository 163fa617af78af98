"""Whether this machine is idle enough for a measurement: the load of its processors before the start.

A calibration during other work fitted 37 ms for a commit, and nothing for a frame. So neither a calibration nor a comparison
begins on a busy machine, and a comparison whose real clients were late is not judged.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from reference.protocol.errors import ConfigError

BUSY_SHARE_MAX = 0.25
"""Of all processors, over the observed time."""
LOOKED_AT_S = 2.0
LOOKS_MAX = 150
"""How often the processors are looked at between two runs, until the machine is quiet again: five minutes."""
_STAT = Path("/proc/stat")


def busy_share(seconds: float = LOOKED_AT_S) -> float:
    """The share of the processors' time that was not idle, over this many seconds from now; on systems other than Linux, the load
    average of the last minute per processor, at most 1."""
    if not _STAT.exists():
        return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    before = _ticks(_STAT.read_text(encoding="ascii"))
    time.sleep(seconds)
    return share_between(before, _ticks(_STAT.read_text(encoding="ascii")))


def share_between(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share that was not idle between two readings of (idle, all) ticks."""
    idle, everything = after[0] - before[0], after[1] - before[1]
    return 0.0 if everything <= 0 else 1.0 - idle / everything


def _ticks(text: str) -> tuple[int, int]:
    numbers = [int(word) for word in text.splitlines()[0].split()[1:9]]  # guest time is within user time
    return numbers[3] + numbers[4], sum(numbers)


def require_quiet(share: float) -> None:
    """Raise ConfigError if the machine is too busy to be measured."""
    if share > BUSY_SHARE_MAX:
        raise ConfigError(
            f"this machine is busy ({share:.0%} of its processors' time, at most {BUSY_SHARE_MAX:.0%} may be); "
            "stop what else it does and run this again"
        )


def wait_until_quiet(look: Callable[[], float] = busy_share, *, waiting: Callable[[str], None]) -> float:
    """Look until the machine is quiet, `LOOKS_MAX` times at most; returns the last share, which is above `BUSY_SHARE_MAX` if it
    never was. `waiting` is called once, with a line that says so, when there is something to wait for. A comparison of half an
    hour must not end because something else ran for a second between two of its runs."""
    share = look()
    if share > BUSY_SHARE_MAX:
        waiting(f"this machine is busy ({share:.0%} of its processors' time): waiting until it is quiet")
    for _ in range(LOOKS_MAX - 1):
        if share <= BUSY_SHARE_MAX:
            break
        share = look()
    return share
