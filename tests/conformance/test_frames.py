"""The validator refuses what docs/protocol.md refuses, and names the clause."""

import json
from typing import Any

import pytest

from simulation.conformance.frames import CLIENT_FRAMES, SERVER_FRAMES, BadFrame, check_body, check_data, check_frame, fold

EVENT = {
    "eventType": "GRAFT",
    "userId": "ada",
    "timestamp": 1,
    "sequenceNumber": 1,
    "data": {"position": "p"},
    "isCritical": True,
}
WELCOME = {
    "type": "welcome", "sessionId": "s", "epoch": "e", "outcome": "fresh", "oldest": 1, "head": 0, "afterSequence": 0,
    "lastClientSequence": 0, "heartbeatMs": 15_000, "retry": {"firstSpreadMs": 1000},
    "limits": {"frameBytesMax": 65_536, "unansweredMax": 64, "publishesPerS": 200},
    "activeUsers": [], "cursorPositions": {}, "serverTime": 1,
}  # fmt: skip

BAD_SERVER_FRAMES: list[tuple[Any, str]] = [
    ("{", "3.2"),
    ("[]", "3.2"),
    ('{"type": "pong", "nonce": NaN, "serverTime": 1}', "3.2"),
    ({"type": "shout"}, "3.3"),
    ({"type": ["pong"]}, "3.3"),
    ({"type": "pong", "serverTime": 1}, "4.17"),
    ({"type": "pong", "nonce": 1.0, "serverTime": 1}, "4.17"),
    ({"type": "pong", "nonce": True, "serverTime": 1}, "4.17"),
    ({"type": "pong", "nonce": 2**53 + 1, "serverTime": 1}, "4.17"),
    ({"type": "accepted", "clientSequence": 0, "sequenceNumber": 1}, "4.14"),
    ({"type": "accepted", "clientSequence": 1, "sequenceNumber": None}, "4.14"),
    ({"type": "rejected", "clientSequence": 1, "code": "no", "message": ""}, "4.15"),
    ({"type": "rejected", "clientSequence": 1, "code": "rate", "message": ""}, "4.15"),
    ({"type": "rejected", "clientSequence": 1, "code": "invalid_event", "message": "", "retryable": True}, "4.15"),
    ({"type": "events", "events": [EVENT, EVENT]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"sequenceNumber": None}]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"sequenceNumber": 0}]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"isCritical": False}]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"eventType": "USER_JOIN", "isCritical": False}]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"userId": ""}]}, "4.11"),
    ({"type": "events", "events": [EVENT | {"data": []}]}, "4.11"),
    ({"type": "snapshot", "sequenceNumber": 1, "state": {"prunes": ["b", "a"]}}, "4.10"),
    ({"type": "snapshot", "sequenceNumber": 1, "state": {"prunes": ["a", "a"]}}, "4.10"),
    ({"type": "snapshot", "sequenceNumber": 1, "state": {"grafts": {"p": {"position": "q"}}}}, "4.10"),
    (WELCOME | {"outcome": "better"}, "4.9"),
    (WELCOME | {"outcome": "snapshot"}, "4.9"),
    (WELCOME | {"outcome": "reset", "reason": "expired"}, "4.9"),
    (WELCOME | {"oldest": 2}, "4.9"),
    (WELCOME | {"afterSequence": 1}, "4.9"),
    (WELCOME | {"activeUsers": ["b", "a"]}, "4.9"),
    (WELCOME | {"limits": {"frameBytesMax": 65_536, "unansweredMax": 64}}, "4.9"),
    (WELCOME | {"retry": {"firstSpreadMs": -1}}, "4.9"),
]


@pytest.mark.parametrize(("frame", "clause"), BAD_SERVER_FRAMES, ids=str)
def test_a_bad_frame_of_a_server_is_refused_with_its_clause(frame: Any, clause: str) -> None:
    with pytest.raises(BadFrame) as raised:
        check_frame(frame if isinstance(frame, str) else json.dumps(frame), SERVER_FRAMES)
    assert raised.value.clause == clause


BAD_CLIENT_FRAMES: list[dict[str, Any]] = [
    {"type": "hello", "protocol": 1, "clientId": "a\n"},
    {"type": "hello", "protocol": 1, "clientId": "a", "epoch": "e"},
    {"type": "hello", "protocol": 1, "clientId": "a", "afterSequence": 1},
    {"type": "publish", "clientSequence": 2, "eventType": "CHAT", "data": {}, "after": 2},
    {"type": "publish", "clientSequence": 2, "eventType": "", "data": {}},
    {"type": "cursor", "data": {"text": "x" * 512}},
    {"type": "ping", "nonce": 1, "roundTripMs": -1},
    {"type": "ping", "nonce": 1, "report": {"recoveries": [{"silenceMs": 1}]}},
    {"type": "ping", "nonce": 1, "report": {"recoveries": [{"recoveryMs": 1}] * 9}},
]


@pytest.mark.parametrize("frame", BAD_CLIENT_FRAMES, ids=str)
def test_a_bad_frame_of_a_client_is_refused(frame: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        check_frame(json.dumps(frame), CLIENT_FRAMES)


def test_unknown_fields_and_null_for_none_are_taken() -> None:
    check_frame(json.dumps(WELCOME | {"colour": "red", "reason": None}), SERVER_FRAMES)
    check_body({"code": 4400, "message": "", "retryAfterMs": None, "more": 1}, "HttpProblem")


@pytest.mark.parametrize(
    "value", [{"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": 2**63}, {"a": -(2**63) - 1}, {"a": float("nan")}]
)
def test_bad_data_is_refused(value: dict[str, Any]) -> None:
    assert check_data(value)


def test_depth_is_counted_in_steps_from_data() -> None:
    data: Any = 1
    for _ in range(32):
        data = {"in": data}
    assert check_data(data) is None
    assert check_data({"in": data})


def test_the_fold_is_that_of_the_text() -> None:
    def event(kind: str, **data: Any) -> dict[str, Any]:
        return {"eventType": kind, "data": data}

    log = [event("GRAFT", position="p", n=1), event("PRUNE", step="b"), event("FLAG", n=1), event("GRAFT", position="p", n=2),
           event("PRUNE", step="a"), event("PRUNE", step="b"), event("FLAG", n=1), event("CHAT")]  # fmt: skip
    assert fold(log) == {"grafts": {"p": {"position": "p", "n": 2}}, "prunes": ["a", "b"], "flags": [{"n": 1}, {"n": 1}]}
