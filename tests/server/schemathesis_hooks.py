"""Hooks that schemathesis loads: rules of a publish request that its schema cannot express.

JSON Schema has no words for rules between fields: `after` is below `clientSequence`, and no `clientSequence` comes twice in one
request. And to it 3.0 is an integer, which the protocol wants to be written as 3 (protocol 4.1). What is right otherwise is made
to keep these rules; what is wrong on purpose is left alone.
"""

from typing import Any

import schemathesis

COUNT_MAX = 2**53


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Called for every request that is about to be made."""
    if not isinstance(case.body, dict):
        return
    if isinstance(case.body.get("cursor"), dict):
        case.body["cursor"] = {
            "line": 1
        }  # what a cursor may hold, and that it is small, has no schema either (protocol 1.6, 4.4)
    messages = case.body.get("messages")
    for fields in (case.body, *(messages if isinstance(messages, list) else ())):
        _write_integers_as_such(fields)
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return
    for number, message in enumerate(messages, 1):
        if _is_count(message.get("clientSequence"), 1):
            message["clientSequence"] = number
        if _is_count(message.get("after"), 0):
            message["after"] = 0


def _write_integers_as_such(fields: Any) -> None:
    if isinstance(fields, dict):
        for name, value in fields.items():
            if isinstance(value, float) and value.is_integer():
                fields[name] = int(value)


def _is_count(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= COUNT_MAX
