"""Delays of events on an unreliable link on which they are delivered in the end.

A connection is up for a time of mean a, then lost, and back after R; events come at random times (Poisson), and those that come
while it is away are delivered when it is back. By renewal-reward: the share of events that are late is E[R] / (a + E[R]), and the
mean delay, over all events, E[R**2] / (2 (a + E[R])): long absences count by their square.
"""


def late_share(up_mean_s: float, away_mean_s: float) -> float:
    return away_mean_s / (up_mean_s + away_mean_s)


def delay_mean_s(up_mean_s: float, away_mean_s: float, away_mean_square_s2: float) -> float:
    """Over all events, those that are not late included."""
    return away_mean_square_s2 / (2 * (up_mean_s + away_mean_s))
