"""What a client saves of its session across a restart of its program: client id, generation, position and outbox.

A session that saves asks its driver to save each change (`Save`) before any action that depends on it: a publish is saved before
its ticket is returned, and the number of a publish before a frame with that number is sent (protocol 2.2, 7.4). So a restarted
program can send everything unanswered once more, and the server recognises copies by their number.
"""

import msgspec

from reference.protocol.events import Data


class SavedPublish(msgspec.Struct, frozen=True):
    """A publish that is not settled. age_ms: since it was queued, by the wall clock. client_sequence: None if it was never
    sent. is_perhaps_lost: a copy was unanswered when a history was lost (7.9). tries: how often it was put off (7.10)."""

    ticket: int
    event_type: str
    data: Data
    age_ms: int
    client_sequence: int | None = None
    is_perhaps_lost: bool = False
    tries: int = 0


class SavedSession(msgspec.Struct, frozen=True, kw_only=True):
    """generation: the highest one used. next_sequence: the lowest unused client sequence. epoch, last: the position up to which
    the application has handled events; None, 0: it has handled none."""

    client_id: str
    generation: int = 0
    next_sequence: int = 1
    epoch: str | None = None
    last: int = 0
    publishes: tuple[SavedPublish, ...] = ()


class _Change(msgspec.Struct, frozen=True, tag_field="change", omit_defaults=True):
    pass


class PublishSaved(_Change, frozen=True, tag="queued"):
    """A publish was queued. at_ms: on the wall clock, in ms since 1970; the store fills it in."""

    ticket: int
    event_type: str
    data: Data
    at_ms: int = 0


class NumberSaved(_Change, frozen=True, tag="numbered"):
    """A publish is about to be sent for the first time; or, with is_perhaps_lost, a history was lost while a copy of it was
    unanswered; or it was put off, for the time that `tries` says. The last one of a ticket holds for it."""

    ticket: int
    client_sequence: int
    is_perhaps_lost: bool = False
    tries: int = 0


class PublishForgotten(_Change, frozen=True, tag="settled"):
    """A publish was answered for good, or given up."""

    ticket: int


class GenerationSaved(_Change, frozen=True, tag="generation"):
    """A connection is about to be opened."""

    generation: int


class PositionSaved(_Change, frozen=True, tag="position"):
    """The application has handled everything up to this number."""

    epoch: str
    last: int


Change = PublishSaved | NumberSaved | PublishForgotten | GenerationSaved | PositionSaved
