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

KEPT_MAX = 8
"""Framed batches and snapshots kept per run."""


class Encoder:
    """The bytes of one loaded run's frames; a run's epoch does not change while it is loaded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def batch(self, batch: Deliver) -> bytes:
        return self._numbered((batch.first, batch.last), batch.frame)

    def frame(self, frame: Frame) -> bytes:
        if isinstance(frame, SnapshotFrame):
            # No batch ends before it begins, so the keys of batches and snapshots cannot meet.
            return self._numbered((frame.sequence_number, -1), frame)
        return frame_text(codec.encode(frame))

    def _numbered(self, key: tuple[int, int], frame: Frame) -> bytes:
        data = self._kept.get(key)
        if data is None:
            data = self._kept[key] = frame_text(codec.encode(frame))
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return data
