"""LogQueue: a bounded queue between the server and the reader of its log.

A dedicated thread writes the lines, so a reader of the log that is slow or has stopped costs the server nothing. The thread
writes the lines of `GATHER_S` at once: a thousand sessions that join wake it once. Lines that do not fit are dropped and counted;
the count is written as soon as there is room again.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

LINES_MAX = 10_000
CHARACTERS_MAX = 4 * 1024 * 1024
"""Of all waiting lines; a traceback is one line."""
GATHER_S = 0.02
CLOSE_TIMEOUT_S = 2.0
"""For writing the remaining lines when the server ends."""


class LogQueue:
    """The part of a text stream that a logger needs. `write` may be called from any thread and never waits for the reader."""

    def __init__(
        self,
        target: TextIO,
        *,
        dropped_line: Callable[[int], str] = 'event="log lines dropped" count={}\n'.format,
        lines_max: int = LINES_MAX,
        characters_max: int = CHARACTERS_MAX,
    ) -> None:
        """`dropped_line` formats the line that says how many lines were dropped."""
        self._target = target
        self._lines_max = lines_max
        self._characters_max = characters_max
        self._lines: deque[str] = deque()
        self._characters = 0
        self._dropped = 0
        self._dropped_total = 0
        self._closed = threading.Event()
        self._dropped_line = dropped_line
        self._changed = threading.Condition()
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each line that is dropped, in the thread that wrote it."""
        self._thread = threading.Thread(target=self._write_all, name="log writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of lines dropped so far."""
        return self._dropped_total

    def write(self, line: str) -> None:
        """Write a line, including its newline."""
        with self._changed:
            fits = len(self._lines) < self._lines_max and self._characters + len(line) <= self._characters_max
            if fits and not self._closed.is_set():
                if not self._lines:
                    self._changed.notify()
                self._lines.append(line)
                self._characters += len(line)
                return
            self._dropped += 1
            self._dropped_total += 1
        self.on_drop()

    def flush(self) -> None:
        """Does nothing: the thread flushes."""

    def close(self) -> None:
        """Take no more lines, and wait a short time until the remaining ones are written."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._dropped:
                    if self._closed.is_set():
                        return
                    self._changed.wait()
            self._closed.wait(GATHER_S)
            with self._changed:
                taken = list(self._lines)
                dropped, self._dropped = self._dropped, 0
            # Its reader may be gone, or its disk full; the server continues.
            with contextlib.suppress(OSError, ValueError):
                self._target.write("".join(taken))
                if dropped:
                    self._target.write(self._dropped_line(dropped))
                self._target.flush()
            with self._changed:  # until now they counted as waiting
                for _ in taken:
                    self._characters -= len(self._lines.popleft())
