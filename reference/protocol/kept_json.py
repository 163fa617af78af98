"""Checks of JSON that a server keeps as raw bytes, without building objects (1.6).

The decoder has already checked that it is JSON in UTF-8, without control characters and unpaired surrogates. Left to check are
the nesting depth, integers beyond 64 bits, numbers beyond the range of a float, and NUL. All checks are operations on the whole
buffer, so 64 KiB cost at most about a millisecond, whatever the data.
"""

import math
import re

from reference.protocol.errors import InvalidEvent

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_KINDS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = (b"0" * 19, b"e000", b"e+000")
"""If JSON with all digits replaced by 0 does not contain this text, none of its numbers can be out of range."""
_SUSPECT = re.compile(rb"(?<![0-9.eE+-])-?(?:[0-9]{19,}+[0-9.eE+-]*+|[0-9.]++[eE]\+?[0-9]{3,}+)")
_INTEGER_DIGITS_MAX = 20  # with a sign
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SPACE = b" \t\r\n"
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_OPENS = bytes.maketrans(b"[]", b"\1\0")
_CLOSES = bytes.maketrans(b"[]", b"\0\1")


def check_json(raw: bytes, depth_max: int) -> None:
    """Raise InvalidEvent unless every store and every reader preserves this JSON unchanged."""
    if rb"\u0000" in raw and _NUL.search(raw):
        raise InvalidEvent("text contains the character NUL, which no database keeps; remove it")
    is_deep = raw.count(b"[") + raw.count(b"{") > depth_max
    kinds = raw.translate(_KINDS)
    has_long_number = _LONG[0] in kinds or _LONG[1] in kinds or _LONG[2] in kinds
    if is_deep or has_long_number:
        bare = _without_strings(raw)
        if has_long_number:
            _check_numbers(set(_SUSPECT.findall(bare)))
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
