"""Events: what collaborators send to each other, the class of each event type, and the checks of their data.

A sequenced event has a number, is stored, and reaches everyone exactly once and in order. Three of the sequenced types are
critical: they are folded into the state of the run, so a late joiner needs only that state. Presence and cursors are not in the
log: only their latest value counts, so they have no number and are never stored.

The data of an event are JSON that every store and every reader preserves unchanged (1.6). A client checks them as objects
(`check_data`), a server as the received bytes (`check_json`).
"""

import enum
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from reference.protocol.errors import ConfigError, InvalidEvent

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
_TYPE_NAME = re.compile("[A-Za-z0-9_]{1,64}")


class EventRegistry:
    """The event types that one application knows, and the class of each.

    The brief's types are always there; `sequenced` adds an application's own, stored and ordered but not folded.
    """

    def __init__(self, sequenced: tuple[str, ...] = (CHAT,)) -> None:
        for name in sequenced:
            if name in _BUILT_IN:
                raise ConfigError(f"event type {name} is built in and cannot be registered again")
            if not _TYPE_NAME.fullmatch(name):  # 1.4
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


# The same checks of raw bytes, without building objects.
#
# The decoder has already checked that the bytes are JSON in UTF-8, without control characters and unpaired surrogates. Four
# checks remain: the nesting depth, integers beyond 64 bits, numbers beyond the range of a float, and NUL. All are operations on
# the whole buffer, so 64 KiB cost less than two milliseconds, whatever the data.
#
# A number that is certainly in range is not converted. To convert each to a float would take several times as long: 64 KiB can
# hold ten thousand numbers with exponents. Numbers that must be converted are long, so there are few.

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_KINDS = bytes.maketrans(b"123456789Eu", b"000000000ee")
_LONG, _EXPONENT = b"0" * 19, b"e000"
"""With all digits taken for 0, E and u for e, and plus signs left out: without one of these texts, no number can be out of range
and no NUL is escaped."""
_NOT_NUMBERS = b'[]{}" \t\r\n'
"""Without these and without what stands in strings, before each number stands a comma or a colon."""
_FLOAT_DIGITS = "179769313486231"
"""The first digits of the largest float, 1.797...e308. A number below that has smaller ones, or a smaller exponent."""
_WHOLE_DIGITS = 18
"""Numbers with more digits than these before the point count as long."""


def _suspects() -> re.Pattern[bytes]:
    """Finds each number that may be out of range; a number with few digits only if it is.

    With k digits before the point, the first not 0, a number is too large from the exponent 310 - k on, and from 309 - k on if it
    leads like the largest float or higher. With z zeros after `0.` it is from 310 + z or 309 + z on.
    """
    leads = f"(?={_at_least(_FLOAT_DIGITS)})"
    leads_lower = r"(?=1(?:\.?[0-7]|[eE]))"
    whole = f"{leads}[0-9]{_whole(309)}|{leads_lower}1{_whole(310)}"
    part = r"0*+[1-9][0-9]*+[eE]\+?[0-9]{3,}+"
    for zeros in reversed(range(13)):
        part = rf"(?:{leads}[0-9]++{_exponent(309 + zeros)}|{leads_lower}[0-9]++{_exponent(310 + zeros)}|0{part})"
    return re.compile(rf"[,:](-?(?:0\.{part}|{whole}|{_LONG_NUMBER}))".encode())


def _whole(least: int) -> str:
    """Matches what follows the first digit, if digits before the point and exponent are `least` together."""
    pattern = f"(?:{_exponents(least - _WHOLE_DIGITS)})"
    for digits in reversed(range(1, _WHOLE_DIGITS)):
        pattern = rf"(?:{_exponents(least - digits)}|[0-9]{pattern})"
    return pattern


def _at_least(digits: str) -> str:
    """Matches a number's digits, with or without a point among them, that begin like `digits` or are higher."""
    pattern = ""
    for digit in reversed(digits):
        higher = "" if digit == "9" else f"[{int(digit) + 1}-9]|"
        pattern = rf"(?:{higher}{digit}\.?{pattern})"
    return pattern


def _exponents(least: int) -> str:
    return rf"{_exponent(least)}|\.[0-9]++{_exponent(least)}"


def _exponent(least: int) -> str:
    """Matches an exponent of at least `least`, which has three digits."""
    hundreds, tens, units = tuple(str(least))
    higher = [f"{hundreds}{tens}[{units}-9]"]
    if tens < "9":
        higher.append(f"{hundreds}[{int(tens) + 1}-9][0-9]")
    return rf"[eE]\+?0*+(?:{'|'.join(higher)}|[{int(hundreds) + 1}-9][0-9]{{2}}|[1-9][0-9]{{3,}}+)(?![0-9])"


_LONG_NUMBER = (
    # Integers beyond 64 bits, and those of as many digits that begin with 92 or more.
    r"9[2-9][0-9]{17}(?![0-9.eE])|[1-9][0-9]{18,}+(?:(?<=[0-9]{20})(?![.eE])"
    # Floats with a large exponent, or with so many digits that a small one is enough.
    r"|[0-9.]*+[eE]\+?[0-9]{3,}+|(?<=[0-9]{200})[0-9.eE+-]*+)"
)
_LONG_SUSPECT = re.compile(rf"[,:](-?(?:{_LONG_NUMBER}))".encode())
_SUSPECT = _suspects()
_INTEGER_DIGITS_MAX = 20  # with a sign
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SPACE = b" \t\r\n"
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_OPENS = bytes.maketrans(b"[]", b"\1\0")
_CLOSES = bytes.maketrans(b"[]", b"\0\1")


def check_json(raw: bytes, depth_max: int) -> None:
    """Raise InvalidEvent unless every store and every reader preserves this JSON unchanged."""
    kinds = raw.translate(_KINDS, b"+")
    has_exponent, has_long_number = _EXPONENT in kinds, _LONG in kinds
    if has_exponent and rb"\u0000" in raw and _NUL.search(raw):
        raise InvalidEvent("text contains the character NUL, which no database keeps; remove it")
    is_deep = raw.count(b"[") + raw.count(b"{") > depth_max
    if is_deep or has_exponent or has_long_number:
        bare = _without_strings(raw)
        if has_exponent or has_long_number:
            suspect = _SUSPECT if has_exponent else _LONG_SUSPECT
            _check_numbers(set(suspect.findall(bare.translate(None, _NOT_NUMBERS))))
        if is_deep:
            _check_depth(bare, depth_max)


def _without_strings(raw: bytes) -> bytes:
    """Replace each string by one quotation mark."""
    return b'"'.join(raw.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])


def _check_numbers(numbers: set[bytes]) -> None:
    for number in numbers:
        if number.removeprefix(b"-").isdigit() and (len(number) > _INTEGER_DIGITS_MAX or not -(2**63) <= int(number) < 2**63):
            raise InvalidEvent(f"the integer {_shown(number)} does not fit into 64 bits; send it as a string")
    if any(map(math.isinf, map(float, numbers))):
        raise InvalidEvent("a number is beyond every float; leave it out or send it as a string")


def _check_depth(bare: bytes, depth_max: int) -> None:
    """Check the nesting depth (1.6). An empty list or object is no level; a value in one is.

    Take +1 for each opening bracket and -1 for each closing one as the digits of a number in base 256. The digits of that number
    divided by 255 are the running sums: the depths. A depth above 255 carries over into digits that are too large as well.
    """
    brackets = bare.translate(_ONE_KIND, _SPACE).replace(b"[]", b"").translate(None, _NOT_BRACKETS)
    steps = int.from_bytes(brackets.translate(_OPENS), "big") - int.from_bytes(brackets.translate(_CLOSES), "big")
    depths = (steps // 255).to_bytes(len(brackets), "big")
    if depths.translate(None, bytes(range(depth_max + 1))):
        raise InvalidEvent(f"data nests deeper than {depth_max} levels")


def _shown(number: bytes) -> str:
    return number.decode() if len(number) <= 40 else f"{number[:40].decode()}..."
