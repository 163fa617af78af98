"""Checks of JSON that a server keeps as raw bytes, without building objects (1.6).

The decoder has already checked that it is JSON in UTF-8, without control characters and unpaired surrogates. Left to check are
the nesting depth, integers beyond 64 bits, numbers beyond the range of a float, and NUL. All checks are operations on the whole
buffer, so 64 KiB cost less than two milliseconds, whatever the data.

No number is converted that is certainly in range. To convert each to a float would take several times as long: 64 KiB can hold
ten thousand numbers with exponents. Numbers that must be converted are long, so there are few.
"""

import math
import re

from reference.protocol.errors import InvalidEvent

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
