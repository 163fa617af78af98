"""How late HTTP polling is.

A client polls, is answered after a round trip r, waits T and polls again; so the server is asked every T + r. An event that is
there at a uniform time waits U(0, T + r) for the next poll, and then half a round trip. Elementary. With T = 2 s no network is
fast enough for a 95th percentile below 500 ms.
"""


def mean_s(interval_s: float, round_trip_s: float) -> float:
    """From the server's having an event to its client's having it."""
    return quantile_s(0.5, interval_s, round_trip_s)


def quantile_s(fraction: float, interval_s: float, round_trip_s: float) -> float:
    return fraction * (interval_s + round_trip_s) + round_trip_s / 2
