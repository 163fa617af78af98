"""Frames to bytes that can be pushed: encoded once, framed once, whoever reads them.

A batch that goes to a thousand current readers is one object and is encoded when it is sent. But after an outage a thousand
readers lag at the same place, and each is handed a batch of its own with the same events in it; so does a thousand late joiners
with the snapshot. What is numbered never changes within an epoch, so the bytes are found again by their numbers.
"""

from collections import OrderedDict

from reference.protocol import codec
from reference.protocol.actions import Deliver
from reference.protocol.frames import Frame, SnapshotFrame
from reference.server.wire.framing import frame_text

BATCHES_KEPT_MAX = 4
"""Framed batches kept per run, beside the newest snapshot."""


class Encoder:
    """The bytes of one loaded run's frames; a run's epoch does not change while it is loaded."""

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._snapshot: tuple[int, bytes] | None = None

    def batch(self, batch: Deliver) -> bytes:
        """The bytes of a batch of events."""
        key = (batch.first, batch.last)
        data = self._batches.get(key)
        if data is None:
            data = self._batches[key] = frame_text(codec.encode(batch.frame))
            if len(self._batches) > BATCHES_KEPT_MAX:
                self._batches.popitem(last=False)
        return data

    def frame(self, frame: Frame) -> bytes:
        """The bytes of any other frame."""
        if not isinstance(frame, SnapshotFrame):
            return frame_text(codec.encode(frame))
        if self._snapshot is None or self._snapshot[0] != frame.sequence_number:
            self._snapshot = (frame.sequence_number, frame_text(codec.encode(frame)))
        return self._snapshot[1]
