"""Frames as trace records: only if a scenario asks for them, because there are many.

    record_frames = true

Each frame of each connection is sent at one end and, if the network delivers it, arrives at the other: two records, with the
number of the connection, so that `simulation.results.diagrams` can draw an arrow, or one that ends in a cross for a lost frame.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from reference.protocol import frames

Way = Literal["up", "down"]
"""up: from the client to the server."""
Moment = Literal["sent", "arrived"]
Watch = Callable[[object, str, Way, Moment, frames.Frame], None]
"""Called with a frame: its connection, client, direction, whether it is sent or arrives, and the frame."""


_EPOCH = re.compile("[0-9a-f]{32}")
"""The whole id would fill a line; its beginning is enough to identify it."""


class FrameSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="frame_seen", omit_defaults=True, gc=False):
    """`connection`: its number in this trace. `words`: the frame in a few words."""

    at: int
    client: str
    connection: int
    way: Way
    moment: Moment
    words: str


class FrameRecorder:
    """Converts the frames of access links to records. `add`: a trace's method; `now`: the time, in ns."""

    def __init__(self, add: Callable[[FrameSeen], None], now: Callable[[], int], words_of: Callable[[Any], str]) -> None:
        self._add = add
        self._now = now
        self._words_of = words_of
        self._numbers: dict[object, int] = {}

    def watch(self, link: object, client: str, way: Way, moment: Moment, frame: frames.Frame) -> None:
        number = self._numbers.setdefault(link, len(self._numbers) + 1)
        words = _EPOCH.sub(lambda found: found[0][:8], self._words_of(frame))
        self._add(FrameSeen(at=self._now(), client=client, connection=number, way=way, moment=moment, words=words))
