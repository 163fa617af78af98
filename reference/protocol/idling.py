"""When a run in which nobody is leaves memory: after a while without anybody, for coming back soon is common."""

from reference.protocol.actions import Retire
from reference.protocol.run_desk import THE_RUN, RunDesk, RunTimer
from reference.protocol.timers import ns

_KEY = (RunTimer.IDLE, THE_RUN)


class Idling:
    """Watches whether the run is in use. `since`: in ns, None while it is."""

    __slots__ = ("_desk", "since")

    def __init__(self, desk: RunDesk) -> None:
        self._desk = desk
        self.since: int | None = None

    def watch(self, is_idle: bool, now: int) -> None:
        """Told after every input."""
        if not is_idle:
            if self.since is not None:
                self.since = None
                self._desk.timers.cancel(_KEY)
        elif self.since is None:
            self.since = now
            self._desk.timers.set(_KEY, now + ns(self._desk.config.run_idle_s))

    def is_over(self) -> None:
        """It has lasted."""
        self._desk.actions.append(Retire())
