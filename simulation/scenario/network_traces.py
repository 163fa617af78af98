"""Network traces: recordings of real networks, read from files.

    read_outages(path)     CSV, `from_s,until_s`: when a link was down
    read_latencies(path)   CSV, `at_s,latency_s`: one-way latency, each until the next
    read_mahimahi(path)    one whole number of ms a line: when a packet of 1500 bytes could be sent (mahimahi's mm-link)

CSV has that header line; empty lines, and lines that begin with "#", are ignored. Every mistake is a ConfigError with file, line,
what is wrong and what to do. In a scenario's file `{ file = "lat.csv" }` may stand in place of these values; the file is found
relative to the scenario, and is read when the scenario is loaded, so a loaded scenario is complete and its digest covers
everything.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

from reference.protocol.errors import ConfigError
from simulation.scenario.paths import RECORDED_MAX

FILE_BYTES_MAX = 64 * 1024 * 1024


def read_outages(path: FilePath) -> tuple[tuple[float, float], ...]:
    """For RecordedAvailability.outages: from, until, in seconds, in order and without overlap."""
    rows: list[tuple[float, float]] = []
    last = -1.0
    for number, begins_s, ends_s in _pairs(path, "from_s,until_s"):
        if begins_s <= last:
            raise _error(path, number, f"begins at {begins_s:g} s, but the one before ends at {last:g} s", "sort and merge them")
        if ends_s <= begins_s:
            raise _error(path, number, f"ends at {ends_s:g} s, not after it begins at {begins_s:g} s", "exchange or remove it")
        last = ends_s
        rows.append((begins_s, ends_s))
    if not rows:
        raise _error(path, 1, "no outage follows", "add one, or leave the availability out")
    return tuple(rows)


def read_latencies(path: FilePath) -> tuple[tuple[float, float], ...]:
    """For Path.recorded_latency: (start time, one-way latency), in seconds. The first time becomes 0."""
    rows: list[tuple[float, float]] = []
    first = 0.0
    for number, at_s, latency_s in _pairs(path, "at_s,latency_s"):
        if not rows:
            first = at_s
        elif at_s - first <= rows[-1][0]:
            raise _error(path, number, f"is at {at_s:g} s, not after the one before", "sort them by time and drop repeated times")
        rows.append((at_s - first, latency_s))
    if not rows:
        raise _error(path, 1, "no latency follows", "add one, or leave the recording out")
    return tuple(rows)


def read_mahimahi(path: FilePath) -> tuple[int, ...]:
    """For Path.deliveries_ms."""
    times: list[int] = []
    for number, line in _lines(path):
        if not (line.isascii() and line.isdigit() and len(line) < 16):
            raise _error(path, number, f"{_shown(line)} is not a whole number of ms, 0 or more", "write one such time a line")
        at = int(line)
        if times and at < times[-1]:
            raise _error(path, number, f"{at} ms comes after {times[-1]} ms", "sort the times")
        times.append(at)
    if not times or times[-1] == 0:
        raise _error(path, 1, "no delivery above 0 ms", "the last time is the recording's length; add one")
    return tuple(times)


_READERS: dict[str, Callable[[FilePath], Any]] = {
    "recorded_latency": read_latencies,
    "deliveries_ms": read_mahimahi,
    "up_recorded_latency": read_latencies,
    "up_deliveries_ms": read_mahimahi,
    "outages": read_outages,
}
FILE_KEYS = frozenset(_READERS)
"""The fields for which `{ file = "..." }` may stand."""


def read_in(table: Any, folder: FilePath | None, place: str = "") -> Any:
    """A scenario's table with named network traces read in. `folder` None: the scenario is not a file."""
    if isinstance(table, dict):
        return {
            key: _recording(key, value["file"], folder, f"{place}{key}")
            if key in _READERS and isinstance(value, dict) and value.keys() == {"file"}
            else read_in(value, folder, f"{place}{key}.")
            for key, value in table.items()
        }
    if isinstance(table, list) and table and isinstance(table[0], dict):
        return [read_in(item, folder, f"{place.rstrip('.')}[{number}].") for number, item in enumerate(table)]
    return table


def _recording(key: str, name: Any, folder: FilePath | None, place: str) -> Any:
    if not isinstance(name, str):
        raise ConfigError(f"{place}: file must be a text, not {name!r}")
    if folder is None:
        raise ConfigError(f"{place}: only a scenario that is a file itself can name the file {name}; load it from one")
    return [list(row) if isinstance(row, tuple) else row for row in _READERS[key](folder / name)]


def _pairs(path: FilePath, head: str) -> Iterator[tuple[int, float, float]]:
    lines = _lines(path)
    number, line = next(lines, (1, ""))
    if line.replace(" ", "") != head:
        raise _error(path, number, f"needs the head line `{head}`, this one is {_shown(line)}", "write it first")
    for number, line in lines:
        fields = line.split(",")
        if len(fields) != 2:
            raise _error(path, number, f"has {len(fields)} fields", f"write two, {head}")
        yield number, _seconds(path, number, fields[0]), _seconds(path, number, fields[1])


def _seconds(path: FilePath, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1_000_000:
        raise _error(path, number, f"{_shown(text)} is not a number of seconds from 0 to 1000000", "write it as 0.25")
    return value


def _lines(path: FilePath) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty or a comment, at most RECORDED_MAX and a header."""
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} has {size} bytes; the limit is {FILE_BYTES_MAX}; cut the recording")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the recording {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    counted = 0
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            counted += 1
            if counted > RECORDED_MAX + 1:
                raise _error(path, number, f"is beyond the limit of {RECORDED_MAX} times", "cut the recording")
            yield number, line


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def _error(path: FilePath, number: int, what: str, advice: str) -> ConfigError:
    return ConfigError(f"{path}, line {number}: {what}; {advice}")
