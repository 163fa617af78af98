"""Events: what collaborators send to each other, and the class of each event type.

A sequenced event has a number, is stored, and reaches everyone exactly once and in order. Three of the sequenced types are
critical: they are folded into the state of the run, so a late joiner needs only that state. Presence and cursors are not in the
log: only their latest value counts, so they have no number and are never stored.
"""

import enum
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from reference.protocol.errors import ConfigError, InvalidEvent
from reference.protocol.kept_json import check_json

Data = dict[str, Any]
"""An event's payload: a JSON object. Only the application interprets it (10.10)."""
KeptData = msgspec.Raw
"""The payload as a server keeps it: the received bytes, unchanged. It is used where a type says `Data`; only the key of a
critical event is ever parsed (`key_of`)."""


class EventClass(enum.Enum):
    CRITICAL = "sequenced, stored and folded into the state of the run"
    SEQUENCED = "sequenced and stored"
    PRESENCE = "latest value, made by the server"
    EPHEMERAL = "latest value per user, made by clients"

    @property
    def is_sequenced(self) -> bool:
        return self in (EventClass.CRITICAL, EventClass.SEQUENCED)


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=False):
    """One event, in the same form over WebSocket, polling and replay.

    `timestamp` is the server's wall clock in ms since 1970; `sequence_number` counts from 1 per run and is None for presence and
    cursors, which are not ordered.
    """

    event_type: str
    user_id: str
    timestamp: int
    sequence_number: int | None
    data: Data
    is_critical: bool


GRAFT = "GRAFT"
PRUNE = "PRUNE"
FLAG = "FLAG"
CHAT = "CHAT"
USER_JOIN = "USER_JOIN"
USER_LEAVE = "USER_LEAVE"
CURSOR_MOVE = "CURSOR_MOVE"

_BUILT_IN: dict[str, EventClass] = {
    GRAFT: EventClass.CRITICAL,
    PRUNE: EventClass.CRITICAL,
    FLAG: EventClass.CRITICAL,
    USER_JOIN: EventClass.PRESENCE,
    USER_LEAVE: EventClass.PRESENCE,
    CURSOR_MOVE: EventClass.EPHEMERAL,
}
KEY_FIELD = {GRAFT: "position", PRUNE: "step"}
"""The field of a critical event's data that names the entry of the run's state to change."""
KEY_CHARACTERS_MAX = 256
"""The longest `position` of a graft and `step` of a prune, in characters: they are keys of the run's state."""
DATA_DEPTH_MAX = 32
"""The nesting limit of an event's data: no value is more than this many levels below the data itself (1.6)."""


class EventRegistry:
    """The event types that one application knows, and the class of each.

    The brief's types are always there; `sequenced` adds an application's own, stored and ordered but not folded.
    """

    def __init__(self, sequenced: tuple[str, ...] = (CHAT,)) -> None:
        for name in sequenced:
            if name in _BUILT_IN:
                raise ConfigError(f"event type {name} is built in and cannot be registered again")
            if not (name and len(name) <= 64 and name.isascii() and name.replace("_", "").isalnum()):
                raise ConfigError(f"event type {name!r}: use 1 to 64 ASCII letters, digits and underscores")
        self._classes: Mapping[str, EventClass] = _BUILT_IN | dict.fromkeys(sequenced, EventClass.SEQUENCED)
        self._published = {name: kind for name, kind in self._classes.items() if kind.is_sequenced}

    def class_of(self, event_type: str) -> EventClass | None:
        """The class of `event_type`, or None if this application has no such type."""
        return self._classes.get(event_type)

    def check_publish(self, event_type: str, data: Data | KeptData) -> EventClass:
        """The class of an event to be published; raises InvalidEvent with what to change."""
        event_class = self._published.get(event_type)
        if event_class is None:
            if event_type in self._classes:
                raise InvalidEvent(f"{event_type} is not published: the server makes presence, cursors have their own frame")
            known = ", ".join(sorted(self._published))
            raise InvalidEvent(f"unknown event type {event_type!r}; this server knows {known}")
        if isinstance(data, KeptData):
            check_json(bytes(data), DATA_DEPTH_MAX)
        else:
            check_data(data)
        if event_type in KEY_FIELD:
            key_of(event_type, data)
        return event_class


DEFAULT_REGISTRY = EventRegistry()

# With its type: a list of numbers in its place would be read whole, for 70 ms, only to be refused.
_keys = {field: msgspec.json.Decoder(msgspec.defstruct("Key", [(field, str, "")])) for field in KEY_FIELD.values()}


def key_of(event_type: str, data: Data | KeptData) -> str:
    """The entry of the state that a GRAFT or a PRUNE changes (1.7). Raises InvalidEvent if `data` does not name one (1.3)."""
    field = KEY_FIELD[event_type]
    value = _kept_key(field, data) if isinstance(data, KeptData) else data.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= KEY_CHARACTERS_MAX:
        raise InvalidEvent(f"{event_type} needs data.{field}, a string of 1 to {KEY_CHARACTERS_MAX} characters")
    return value


def _kept_key(field: str, data: KeptData) -> Any:
    try:
        return getattr(_keys[field].decode(data), field)
    except msgspec.ValidationError:  # it is there and is no string
        return None


CURSOR_BYTES_MAX = 512
"""The largest cursor, in bytes of JSON: all cursors must fit into one welcome."""


def check_cursor(data: Data) -> None:
    """Raise InvalidEvent unless `data` is a valid cursor."""
    check_data(data)
    size_bytes = len(msgspec.json.encode(data))
    if size_bytes > CURSOR_BYTES_MAX:
        raise InvalidEvent(f"a cursor of {size_bytes} bytes; the limit is {CURSOR_BYTES_MAX}")


def check_data(value: object, depth: int = 0) -> None:
    """Raise InvalidEvent unless JSON and every store preserve `value` unchanged.

    Parsers disagree about NaN, infinities and integers beyond 64 bits; PostgreSQL cannot store NUL in text.
    """
    if depth > DATA_DEPTH_MAX:
        raise InvalidEvent(f"data nests deeper than {DATA_DEPTH_MAX} levels")
    match value:
        case None | bool():
            pass
        case str():
            _check_text(value)
        case int():
            if not -(2**63) <= value < 2**63:
                raise InvalidEvent(f"the integer {value} does not fit into 64 bits; send it as a string")
        case float():
            if not math.isfinite(value):
                raise InvalidEvent(f"{value} is not a JSON number; leave it out or send it as a string")
        case list() | tuple():
            for item in value:
                check_data(item, depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise InvalidEvent(f"the key {key!r} is not a string, which JSON requires")
                _check_text(key)
                check_data(item, depth + 1)
        case _:
            raise InvalidEvent(f"a {type(value).__name__} is not JSON: use strings, numbers, booleans, null, lists and objects")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise InvalidEvent("text contains the character NUL, which no database keeps; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidEvent("text contains half of a surrogate pair, which is not Unicode; remove it") from None
