"""How long a dead connection looks alive.

A client sends a ping every I seconds, its answer takes a round trip r < I, and without any byte for T <= I after a ping the
connection is given up. At a uniform phase the path becomes a black hole. If an answer was on its way it is lost, and its ping's
limit counts; otherwise the next ping's. So the delay is uniform on (T - r, T + I - r). Elementary.
"""


def bounds_s(interval_s: float, timeout_s: float, round_trip_s: float) -> tuple[float, float]:
    return timeout_s - round_trip_s, timeout_s + interval_s - round_trip_s


def mean_s(interval_s: float, timeout_s: float, round_trip_s: float) -> float:
    return sum(bounds_s(interval_s, timeout_s, round_trip_s)) / 2


def quantile_s(fraction: float, interval_s: float, timeout_s: float, round_trip_s: float) -> float:
    low, high = bounds_s(interval_s, timeout_s, round_trip_s)
    return low + fraction * (high - low)
