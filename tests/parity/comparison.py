"""Compares two transcripts: the first difference of each place, as a small table with the lines before it."""

from dataclasses import dataclass
from itertools import zip_longest

from .transcript import Line, Transcript

TIME_NS_MAX = 1
"""How far the times of one line may lie apart, in ns.

The simulator counts whole nanoseconds. trio counts seconds as a float, which at 1000 s are multiples of 0.0001 ns, and each hop
adds a rounding of that size; the shells round to whole nanoseconds whenever they look. So times agree to the nanosecond, unless
a time that is no whole number of ns (a jitter, a duration such as 1/3 s) happens to lie at the middle between two.
"""
_BEFORE = 4
_AFTER = 3
_WIDTH = 100


@dataclass(frozen=True)
class Difference:
    """Where two worlds part. `why`: what differs first, in words."""

    place: str
    number: int
    why: str
    table: str

    def __str__(self) -> str:
        return f"{self.place}, line {self.number + 1}: {self.why}\n{self.table}"


def differences(left: Transcript, right: Transcript) -> list[Difference]:
    """The first difference of each place, in the order of their times; empty if both tell the same."""
    ours, theirs = left.lines, right.lines
    found: list[tuple[int, Difference]] = []
    for place in sorted({*ours, *theirs}):
        one, other = ours.get(place, []), theirs.get(place, [])
        for number, (a, b) in enumerate(zip_longest(one, other)):
            why = _why(a, b, left.world, right.world)
            if why is not None:
                at = min(line.at for line in (a, b) if line is not None)
                found.append((at, Difference(place, number, why, _table(left.world, one, right.world, other, number))))
                break
    return [difference for _, difference in sorted(found, key=lambda pair: pair[0])]


def assert_same(left: Transcript, right: Transcript) -> None:
    """Raise AssertionError with the earliest differences, readable, unless both tell the same."""
    found = differences(left, right)
    if found:
        shown = "\n\n".join(str(difference) for difference in found[:3])
        raise AssertionError(f"{left.world} and {right.world} differ in {len(found)} places, first here:\n\n{shown}")


def largest_time_difference(left: Transcript, right: Transcript) -> int:
    """Over all lines of two transcripts that are the same otherwise, in ns."""
    ours, theirs = left.lines, right.lines
    return max(abs(a.at - b.at) for place in ours for a, b in zip(ours[place], theirs[place], strict=True))


def _why(a: Line | None, b: Line | None, left: str, right: str) -> str | None:
    if a is None or b is None:
        return f"{left if a is None else right} has nothing more"
    if a.what != b.what:
        return f"{a.what} or {b.what}"
    if a.content != b.content:
        return f"{a.what} of another content"
    if abs(a.at - b.at) > TIME_NS_MAX:
        return f"{a.what} {abs(a.at - b.at)} ns apart"
    return None


def _table(left: str, one: list[Line], right: str, other: list[Line], number: int) -> str:
    rows = [f"  {left:<{_WIDTH}} | {right}"]
    for index in range(max(0, number - _BEFORE), min(max(len(one), len(other)), number + _AFTER + 1)):
        texts = [_cell(lines, index) for lines in (one, other)]
        mark = ">" if index == number else " "
        if index == number and len(max(texts, key=len)) > _WIDTH:  # the line that matters is shown whole
            rows += [f"{mark} {left}: {texts[0]}", f"{mark} {right}: {texts[1]}"]
        else:
            rows.append(f"{mark} {texts[0][:_WIDTH]:<{_WIDTH}} | {texts[1][:_WIDTH]}")
    return "\n".join(rows)


def _cell(lines: list[Line], index: int) -> str:
    return str(lines[index]) if index < len(lines) else "-"
