"""Rate limit of a peer: a token bucket, with a rate in tokens per second and a burst."""

from reference.protocol.frames import MILLISECONDS_MAX
from reference.protocol.timers import NS_PER_S


class TokenBucket:
    """Full at first. Times in ns."""

    __slots__ = (
        "_at",
        "_burst",
        "_left",
        "_per_s",
    )

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._left = float(burst)
        self._at: int | None = None

    def spend(self, now: int, tokens: int = 1) -> int:
        """Take that many tokens. Returns 0 if they were there; otherwise takes none and returns how long to wait for them, in
        ms."""
        if self._at != now:  # one read brings many publishes
            self._refill(now)
        if self._left < tokens:
            return min(max(1, round((tokens - self._left) / self._per_s * 1000)), MILLISECONDS_MAX)
        self._left -= tokens
        return 0

    def take(self, now: int, tokens: int) -> int:
        """Take up to that many tokens; returns how many were taken."""
        self._refill(now)
        taken = min(tokens, max(0, int(self._left)))
        self._left -= taken
        return taken

    def drain(self, now: int, tokens: int) -> None:
        """Take tokens for work already done; missing tokens become a debt, at most as large as a burst."""
        self._refill(now)
        self._left = max(self._left - tokens, -self._burst)

    def _refill(self, now: int) -> None:
        if self._at == now:
            return
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) / NS_PER_S * self._per_s)
        self._at = now
