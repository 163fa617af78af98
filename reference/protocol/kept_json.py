"""Checks of JSON that a server keeps as the bytes that came, without building objects (1.6).

The decoder has already seen that it is JSON in UTF-8, without control characters and without halves of surrogate pairs. What is
left: how deeply it nests, integers beyond 64 bits, numbers beyond every float, and NUL. All of it is done with whole-buffer
operations, so 64 KiB cost at most about a millisecond, whatever their shape.
"""

import math
import re

from reference.protocol.errors import InvalidEvent

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_KINDS = bytes.maketrans(b"123456789Eu", b"000000000ee")
_LONG, _EXPONENT = b"0" * 19, b"e000"
"""With all digits taken for 0, E and u for e, and plus signs left out: without one of these texts, no number can be out of range
and no NUL is escaped."""
_SUSPECT = re.compile(rb"(?<![0-9.eE+-])-?(?:[0-9]{19,}+[0-9.eE+-]*+|[0-9.]++[eE]\+?[0-9]{3,}+)")
_INTEGER_DIGITS_MAX = 20  # with a sign
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SPACE = b" \t\r\n"
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_OPENS = bytes.maketrans(b"[]", b"\1\0")
_CLOSES = bytes.maketrans(b"[]", b"\0\1")


def check_json(raw: bytes, depth_max: int) -> None:
    """Raise InvalidEvent unless every store and every reader keeps this JSON unchanged."""
    kinds = raw.translate(_KINDS, b"+")
    is_suspicious = _LONG in kinds or _EXPONENT in kinds
    is_deep = raw.count(b"[") + raw.count(b"{") > depth_max
    if is_suspicious:
        if rb"\u0000" in raw and _NUL.search(raw):
            raise InvalidEvent("text contains the character NUL, which no database keeps; remove it")
        _check_numbers(set(_SUSPECT.findall(_without_strings(raw))))
    if is_deep:
        _check_depth(_without_strings(raw), depth_max)


def _without_strings(raw: bytes) -> bytes:
    """Of each string a quotation mark is left."""
    return b'"'.join(raw.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])


def _check_numbers(numbers: set[bytes]) -> None:
    for number in numbers:
        if number.removeprefix(b"-").isdigit() and (len(number) > _INTEGER_DIGITS_MAX or not -(2**63) <= int(number) < 2**63):
            raise InvalidEvent(f"the integer {_shown(number)} does not fit into 64 bits; send it as a string")
    if any(map(math.isinf, map(float, numbers))):
        raise InvalidEvent("a number is beyond every float; leave it out or send it as a string")


def _check_depth(bare: bytes, depth_max: int) -> None:
    """An empty list or object is no level, but a value in one (1.6).

    With +1 for each opening bracket and -1 for each closing one as the digits of a number to the base 256, the digits of its
    255th part are the sums of all digits before them: the depths. One beyond 255 runs over into others that are too large too.
    """
    brackets = bare.translate(_ONE_KIND, _SPACE).replace(b"[]", b"").translate(None, _NOT_BRACKETS)
    steps = int.from_bytes(brackets.translate(_OPENS), "big") - int.from_bytes(brackets.translate(_CLOSES), "big")
    depths = (steps // 255).to_bytes(len(brackets), "big")
    if depths.translate(None, bytes(range(depth_max + 1))):
        raise InvalidEvent(f"data nests deeper than {depth_max} levels")


def _shown(number: bytes) -> str:
    return number.decode() if len(number) <= 40 else f"{number[:40].decode()}..."
