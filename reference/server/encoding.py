"""Encoding of frames to bytes: encoded and framed once, for all readers.

A batch for a thousand current readers is one object and is encoded when it is sent. But after an outage a thousand readers may
lag at the same position, and each gets a batch of its own with the same events; a thousand late joiners get the same snapshot.
Numbered events never change within an epoch, so the encoded bytes are cached by their numbers.
"""

from collections import OrderedDict

from reference.protocol import codec
from reference.protocol.frames import Events, Frame, SnapshotFrame
from reference.server.peers import Framed
from reference.server.wire.framing import frame_text

BATCHES_KEPT_MAX = 4
"""Framed batches cached per run, in addition to the newest snapshot."""


class Encoder:
    """Encodes the frames of one loaded run; a run's epoch does not change while it is loaded."""

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[int | None, int | None], Framed] = OrderedDict()
        self._snapshot: tuple[int, Framed] | None = None

    def encode(self, frame: Frame) -> Framed:
        """The bytes of a frame."""
        if type(frame) is Events:
            return self._batch(frame)
        if type(frame) is SnapshotFrame:
            if self._snapshot is None or self._snapshot[0] != frame.sequence_number:
                self._snapshot = (frame.sequence_number, _framed(frame))
            return self._snapshot[1]
        return _framed(frame)

    def _batch(self, batch: Events) -> Framed:
        key = (batch.events[0].sequence_number, batch.events[-1].sequence_number)
        framed = self._batches.get(key)
        if framed is None:
            framed = self._batches[key] = Framed(frame_text(codec.encode(batch)), len(batch.events), is_batch=True)
            if len(self._batches) > BATCHES_KEPT_MAX:
                self._batches.popitem(last=False)
        return framed


def _framed(frame: Frame) -> Framed:
    return Framed(frame_text(codec.encode(frame)), 1, is_batch=False)
