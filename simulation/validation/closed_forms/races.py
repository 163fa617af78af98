"""A ping every I, late by a uniform time up to S, and a middlebox that forgets a connection after T without data.

The answer of a ping passes a box at the client one round trip r after the ping itself; the next ping has T from then. So it comes
too late when its lateness U > T - I + r.
"""


def killed(interval_s: float, timeout_s: float, slack_s: float, round_trip_s: float) -> float:
    """P(a ping comes too late)."""
    grace_s = timeout_s - interval_s + round_trip_s
    if slack_s == 0:
        return float(grace_s < 0)
    return min(1.0, max(0.0, 1 - grace_s / slack_s))
