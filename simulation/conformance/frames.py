"""The frames of docs/protocol.md as tables, and a validator that names the clause which a frame breaks.

This is written from the text, field by field, and shares no code with the reference implementation: it is the kit's own reading
of section 4. A test compares the tables with those of the document.

    check_frame(text, SERVER_FRAMES)   one WebSocket message of a server -> the frame as a dict; raises BadFrame
    check_body(value, "polled")        one HTTP answer of that kind
    check_data(value)                  the rules of 1.6 for `data`
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

Frame = dict[str, Any]
Check = Callable[[Any], str | None]
"""Returns the fault of a value, or None."""

COUNT_MAX: Final = 2**53
MS_MAX: Final = 86_400_000
TALLY_MAX: Final = 1_000_000
CURSOR_BYTES_MAX: Final = 512
DATA_DEPTH_MAX: Final = 32
CRITICAL: Final = ("GRAFT", "PRUNE", "FLAG")
UNNUMBERED: Final = ("USER_JOIN", "USER_LEAVE", "CURSOR_MOVE")
RETRYABLE: Final = ("out_of_order", "too_many_unanswered", "rate", "overloaded")
FINAL: Final = ("invalid_event", "unknown_event_type", "state_full", "too_many_clients", "answer_expired")
_ID = re.compile(r"[A-Za-z0-9._:@+-]{1,128}")


class BadFrame(Exception):
    """A frame is not as the text says; `clause` is the clause that it breaks."""

    def __init__(self, clause: str, message: str) -> None:
        super().__init__(message)
        self.clause = clause


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table: `kind` as the document words it, `default` "required", "none" or a JSON value."""

    kind: str
    default: str
    check: Check

    @property
    def is_required(self) -> bool:
        return self.default == "required"


def check_data(value: Any, depth: int = 0) -> str | None:
    """The reason why `value` cannot be data (1.6), or None. `data` itself has depth 0."""
    if depth > DATA_DEPTH_MAX:
        return f"a value that is reached in more than {DATA_DEPTH_MAX} steps"
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else f"the integer {value} has more than 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"the number {value} is not finite"
    if isinstance(value, str):
        return None if "\0" not in value and not _has_surrogate(value) else "a string with NUL or half a surrogate pair"
    if isinstance(value, list):
        return next((wrong for each in value if (wrong := check_data(each, depth + 1))), None)
    for name, each in value.items():
        wrong = check_data(name) or check_data(each, depth + 1)
        if wrong:
            return wrong
    return None


def parse(text: str | bytes) -> Any:
    """JSON without NaN and infinities, which JSON does not have. Raises BadFrame."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadFrame("3.2", f"not JSON: {error}") from None


def check_frame(text: str, kinds: Mapping[str, str]) -> Frame:
    """A WebSocket message that must be one of these frames (type to clause). Raises BadFrame."""
    frame = parse(text)
    if not isinstance(frame, dict):
        raise BadFrame("3.2", f"not a JSON object: {shorten(text)}")
    kind = frame.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadFrame("3.3", f"a frame of the unknown type {kind!r}: {shorten(text)}")
    _check_fields(frame, kind, kinds[kind])
    return frame


def check_body(value: Any, name: str, clause: str = "4.21") -> Frame:
    """The body of an HTTP answer (`polled`, `published`, `HttpProblem`) or request. Raises BadFrame."""
    if not isinstance(value, dict):
        raise BadFrame(clause, f"{name}: not a JSON object: {shorten(value)}")
    _check_fields(value, name, clause)
    return value


def shorten(value: Any, most: int = 200) -> str:
    """A value as it is shown to people."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _check_fields(frame: Frame, name: str, clause: str) -> None:
    wrong = _struct(name)(frame)
    if wrong:
        raise BadFrame(clause, f"{name}: {wrong}; the frame is {shorten(frame)}")


def _struct(name: str) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return f"{shorten(value, 60)} is not an object"
        for field_name, field in (_ANSWERS if name in _ANSWERS else TABLES)[name].items():
            if field_name not in value or (value[field_name] is None and field.default == "none"):
                if field.is_required:
                    return f"`{field_name}` is missing"
            elif wrong := field.check(value[field_name]):
                return f"`{field_name}`: {wrong}"
        further = _FURTHER.get(name)
        return further(value) if further else None

    return check


def _integer(low: float = -math.inf, high: float = math.inf) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not int:
            return f"{shorten(value, 60)} is not an integer without fraction or exponent"
        return None if low <= value <= high else f"{value} is not between {low:g} and {high:g}"

    return check


def _number(low: float = -math.inf, high: float = math.inf) -> Check:
    def check(value: Any) -> str | None:
        if type(value) not in (int, float):
            return f"{shorten(value, 60)} is not a number"
        return None if low <= value <= high else f"{value} is not between {low:g} and {high:g}"

    return check


def _string(low: int = 0, high: int | None = None) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return f"{shorten(value, 60)} is not a string"
        if _has_surrogate(value):
            return "half a surrogate pair"
        return None if low <= len(value) <= (high or len(value)) else f"it has {len(value)} characters"

    return check


def _id(value: Any) -> str | None:
    return None if isinstance(value, str) and _ID.fullmatch(value) else f"{shorten(value, 60)} is not an id"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"{shorten(value, 60)} is not a boolean"


def _object(value: Any) -> str | None:
    return check_data(value) if isinstance(value, dict) else f"{shorten(value, 60)} is not an object"


def _list(check: Check, most: int | None = None) -> Check:
    def check_list(value: Any) -> str | None:
        if not isinstance(value, list):
            return f"{shorten(value, 60)} is not a list"
        if most is not None and len(value) > most:
            return f"it has {len(value)} entries, more than {most}"
        return next((wrong for each in value if (wrong := check(each))), None)

    return check_list


def _map(check: Check) -> Check:
    def check_map(value: Any) -> str | None:
        if not isinstance(value, dict):
            return f"{shorten(value, 60)} is not an object"
        return next((f"{name!r}: {wrong}" for name, each in value.items() if (wrong := check(each))), None)

    return check_map


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"{shorten(value, 60)} is not one of {', '.join(words)}"


def _null_or(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _answer(value: Any) -> str | None:
    if not isinstance(value, dict) or value.get("type") not in ("accepted", "rejected"):
        return f"{shorten(value, 60)} is not `accepted` or `rejected`"
    return _struct(value["type"])(value)


def _cursor(value: Any) -> str | None:
    wrong = _object(value)
    if wrong is None and len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()) > CURSOR_BYTES_MAX:
        return f"more than {CURSOR_BYTES_MAX} bytes"
    return wrong


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


_KINDS: dict[str, Check] = {
    "string": _string(),
    "boolean": _boolean,
    "integer": _integer(),
    "integer or null": _null_or(_integer()),
    "number": _number(),
    "object": _object,
    "id": _id,
    "token": _string(0, 8192),
    "type name": _string(1, 64),
    "count": _integer(0, COUNT_MAX),
    "ordinal": _integer(1, COUNT_MAX),
    "ms": _integer(0, MS_MAX),
    "tally": _integer(0, TALLY_MAX),
    "start": _one_of("head", "oldest", "snapshot"),
    "outcome": _one_of("fresh", "reset", "resumed", "snapshot"),
    "reset reason": _one_of("ahead", "epoch", "expired"),
    "fallback reason": _one_of("not_opened", "not_steady", "not_welcomed"),
    "number, 0 to 86400000": _number(0, MS_MAX),
    "integer, 0 to 25000": _integer(0, 25_000),
    "map of object": _map(_object),
    "list of string": _list(_string()),
    "list of object": _list(_object),
    "list of accepted or rejected": _list(_answer),
}


def _kind(kind: str, name: str) -> Check:
    if name in ("cursor.data", "publishMany.cursor"):
        return _cursor
    if kind in _KINDS:
        return _KINDS[kind]
    match = re.fullmatch(r"list of ([A-Za-z]+)(?:, at most (\d+))?", kind)
    if match:
        return _list(_struct(match[1]), int(match[2]) if match[2] else None)
    return _struct(kind)


def _table(name: str, rows: str) -> dict[str, Field]:
    fields = {}
    for row in rows.strip().splitlines():
        field_name, kind, default = (cell.strip() for cell in row.split("|"))
        fields[field_name] = Field(kind, default, _kind(kind, f"{name}.{field_name}"))
    return fields


_ROWS: dict[str, str] = {
    "Event": """
        eventType | string | required
        userId | string | required
        timestamp | integer | required
        sequenceNumber | integer or null | required
        data | object | required
        isCritical | boolean | required""",
    "RunState": """
        grafts | map of object | {}
        prunes | list of string | []
        flags | list of object | []""",
    "hello": """
        protocol | integer | required
        clientId | id | required
        generation | ordinal | 1
        token | token | none
        sessionId | id | none
        epoch | id | none
        afterSequence | count | none
        start | start | "snapshot\"""",
    "publish": """
        clientSequence | ordinal | required
        eventType | type name | required
        data | object | required
        after | count | none""",
    "cursor": "data | object | required",
    "ack": "sequenceNumber | count | required",
    "ping": """
        nonce | count | required
        roundTripMs | number, 0 to 86400000 | none
        report | Report | none""",
    "Report": """
        failedAttempts | tally | 0
        gaps | tally | 0
        duplicates | tally | 0
        failedMessages | tally | 0
        queuedMessages | tally | 0
        recoveries | list of Recovery, at most 8 | []""",
    "Recovery": """
        recoveryMs | ms | required
        silenceMs | ms | none""",
    "auth": "token | token | required",
    "bye": "",
    "welcome": """
        sessionId | id | required
        epoch | id | required
        outcome | outcome | required
        reason | reset reason | none
        oldest | count | required
        head | count | required
        afterSequence | count | required
        lastClientSequence | count | required
        heartbeatMs | ms | required
        limits | Limits | required
        retry | Retry | required
        activeUsers | list of string | required
        cursorPositions | map of object | required
        serverTime | integer | required""",
    "Limits": """
        frameBytesMax | integer | required
        unansweredMax | integer | required
        publishesPerS | number | required
        bodyBytesMax | integer | none
        connectionsPerUserMax | integer | none
        connectionsMax | integer | none
        loadedRunsMax | integer | none
        runsPerUserPerMinuteMax | integer | none
        helloTimeoutMs | integer | none
        headTimeoutMs | integer | none
        silenceMaxMs | integer | none
        slowReaderTimeoutMs | integer | none
        eventsKeptMax | integer | none""",
    "Retry": "firstSpreadMs | ms | required",
    "snapshot": """
        sequenceNumber | count | required
        state | RunState | required""",
    "events": "events | list of Event | required",
    "presence": """
        full | list of string | none
        joined | list of string | []
        left | list of string | []
        serverTime | integer | required""",
    "cursors": """
        full | map of object | none
        moved | map of object | {}
        serverTime | integer | required""",
    "accepted": """
        clientSequence | ordinal | required
        sequenceNumber | ordinal | required
        duplicate | boolean | false""",
    "rejected": """
        clientSequence | ordinal | required
        code | string | required
        message | string | required
        retryable | boolean | false
        retryAfterMs | ms | none""",
    "heartbeat": "head | count | required",
    "pong": """
        nonce | count | required
        serverTime | integer | required""",
    "expiring": "inMs | ms | required",
    "goaway": """
        code | integer | required
        retryAfterMs | ms | required
        spreadMs | ms | required""",
    "error": """
        code | integer | required
        message | string | required""",
    "poll": """
        afterSequence | count | none
        epoch | id | none
        waitMs | integer, 0 to 25000 | 0
        clientId | id | none
        sessionId | id | none
        generation | ordinal | 1
        start | start | "snapshot"
        fallback | fallback reason | none
        report | Report | none""",
    "polled": """
        runId | string | required
        sessionId | id | none
        epoch | id | required
        outcome | outcome | required
        reason | reset reason | none
        oldest | count | required
        head | count | required
        afterSequence | count | required
        lastClientSequence | count | required
        events | list of Event | required
        hasMore | boolean | false
        snapshot | snapshot | none
        activeUsers | list of string | required
        cursorPositions | map of object | required
        serverTime | integer | required""",
    "publishMany": """
        clientId | id | required
        generation | ordinal | 1
        messages | list of Message, at most 64 | []
        cursor | object | none""",
    "Message": """
        clientSequence | ordinal | required
        eventType | type name | required
        data | object | required
        after | count | none""",
    "published": """
        results | list of accepted or rejected | required
        epoch | id | none""",
    "HttpProblem": """
        code | integer | required
        message | string | required
        retryAfterMs | integer | none""",
}


def _further_event(event: Frame) -> str | None:
    kind, number = event["eventType"], event["sequenceNumber"]
    if number is None or kind in UNNUMBERED:
        return "an event without a number, or of a type that is never numbered (4.11, 1.3)"
    if number < 1:
        return f"the number {number} is below 1 (1.5)"
    if event["isCritical"] != (kind in CRITICAL):
        return f"isCritical is {event['isCritical']} for {kind} (1.3)"
    if not 1 <= len(event["userId"]) <= 128:
        return "a userId has 1 to 128 characters (9.4)"
    return None


def _further_events(frame: Frame) -> str | None:
    numbers = [event["sequenceNumber"] for event in frame["events"]]
    for before, after in pairwise(numbers):
        if after != before + 1:
            return f"the event after {before} has number {after}; events are contiguous"
    return None


def _further_state(state: Frame) -> str | None:
    prunes = state.get("prunes", [])
    if prunes != sorted(set(prunes)):
        return "`prunes` has every step once, sorted (1.7)"
    for position, data in state.get("grafts", {}).items():
        if data.get("position") != position:
            return f"the graft at {position!r} says that its position is {data.get('position')!r} (1.7)"
    return None


def _further_place(frame: Frame) -> str | None:
    outcome, reason = frame["outcome"], frame.get("reason")
    allowed = {"fresh": (None,), "resumed": (None,), "snapshot": ("expired",), "reset": ("epoch", "ahead")}[outcome]
    if reason not in allowed:
        return f"outcome {outcome} with the reason {reason!r} (8.14)"
    if not frame["oldest"] <= frame["head"] + 1:
        return f"oldest {frame['oldest']} is above head {frame['head']} + 1 (1.10)"
    if not frame["afterSequence"] <= frame["head"]:
        return f"afterSequence {frame['afterSequence']} is above head {frame['head']}"
    if frame["activeUsers"] != sorted(set(frame["activeUsers"])):
        return "`activeUsers` is not sorted, or names a user twice"
    return None


def _further_polled(frame: Frame) -> str | None:
    return _further_place(frame) or _further_events(frame)


def _further_rejected(frame: Frame) -> str | None:
    code = frame["code"]
    if code not in RETRYABLE + FINAL:
        return f"{code!r} is no code of 6.7"
    if frame.get("retryable", False) != (code in RETRYABLE):
        return f"retryable is {frame.get('retryable', False)} for {code} (6.7)"
    return None


def _further_hello(frame: Frame) -> str | None:
    has_epoch, has_after = (frame.get(name) is not None for name in ("epoch", "afterSequence"))
    return None if has_epoch == has_after else "`epoch` and `afterSequence`: both or neither"


def _further_publish(frame: Frame) -> str | None:
    after = frame.get("after")
    return None if after is None or after < frame["clientSequence"] else f"after {after} is not below clientSequence"


def _further_request(frame: Frame) -> str | None:
    numbers = [message["clientSequence"] for message in frame.get("messages", [])]
    return None if len(set(numbers)) == len(numbers) else "two messages have the same clientSequence (8.24)"


def _further_replay(frame: Frame) -> str | None:
    wrong = _integer(0)(frame["totalEvents"]) or _boolean(frame["hasMore"])
    if wrong:
        return wrong
    if frame["hasMore"] != (frame.get("nextSequence") is not None):
        return f"hasMore is {frame['hasMore']}, nextSequence {frame.get('nextSequence')}"
    numbers = [event["sequenceNumber"] for event in frame["events"]]
    return None if numbers == sorted(set(numbers)) else "the events are not ascending"


_FURTHER: dict[str, Check] = {
    "Replay": _further_replay,
    "Event": _further_event,
    "RunState": _further_state,
    "events": _further_events,
    "welcome": _further_place,
    "polled": _further_polled,
    "rejected": _further_rejected,
    "hello": _further_hello,
    "publish": _further_publish,
    "Message": _further_publish,
    "publishMany": _further_request,
}
_PROSE: dict[str, str] = {
    "Replay": """
        runId | string | required
        epoch | id | required
        oldest | count | required
        head | count | required
        events | list of Event | required
        totalEvents | integer | required
        hasMore | boolean | required
        nextSequence | integer | none""",
}
"""Answers that the document describes in words (5.5)."""

TABLES: dict[str, dict[str, Field]] = {}
"""The tables of the document, by heading."""
for _name, _rows in _ROWS.items():
    TABLES[_name] = _table(_name, _rows)
_ANSWERS = {name: _table(name, rows) for name, rows in _PROSE.items()}

CLIENT_FRAMES: Final[dict[str, str]] = {
    "hello": "4.2", "publish": "4.3", "cursor": "4.4", "ack": "4.5", "ping": "4.6", "auth": "4.7", "bye": "4.8",
}  # fmt: skip
SERVER_FRAMES: Final[dict[str, str]] = {
    "welcome": "4.9", "snapshot": "4.10", "events": "4.11", "presence": "4.12", "cursors": "4.13", "accepted": "4.14",
    "rejected": "4.15", "heartbeat": "4.16", "pong": "4.17", "expiring": "4.18", "goaway": "4.19", "error": "4.20",
}  # fmt: skip


def fold(events: list[Frame]) -> Frame:
    """The state of a run after these events (1.7), with all three fields."""
    grafts: Frame = {}
    prunes: set[str] = set()
    flags: list[Frame] = []
    for event in events:
        data = event["data"]
        match event["eventType"]:
            case "GRAFT":
                grafts[data["position"]] = data
            case "PRUNE":
                prunes.add(data["step"])
            case "FLAG":
                flags.append(data)
    return {"grafts": grafts, "prunes": sorted(prunes), "flags": flags}
