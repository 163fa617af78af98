"""Rate limits of a peer: token buckets, each with a rate in tokens per second and a burst."""

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
        self._refill(now)
        wait_ms = self._wait_ms(tokens)
        if not wait_ms:
            self._left -= tokens
        return wait_ms

    def take(self, now: int, tokens: int) -> int:
        """Take up to that many tokens; returns how many were taken."""
        self._refill(now)
        taken = tokens if self._left >= tokens else max(0, int(self._left))
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
            left = self._left + (now - self._at) / NS_PER_S * self._per_s
            self._left = left if left < self._burst else self._burst
        self._at = now

    def _wait_ms(self, tokens: int) -> int:
        """Until that many tokens are there; 0: they are."""
        if self._left >= tokens:
            return 0
        return min(max(1, round((tokens - self._left) / self._per_s * 1000)), MILLISECONDS_MAX)


_NO_WAIT = (0, 0)


class PublishRate:
    """The rate limit of one client's publishes, and of their bytes (8.6): two buckets that are spent together, or not at all."""

    __slots__ = ("_bytes", "_publishes")

    def __init__(self, publishes: TokenBucket, data_bytes: TokenBucket) -> None:
        self._publishes = publishes
        self._bytes = data_bytes

    def spend(self, now: int, size_bytes: int) -> tuple[int, int]:
        """Take one publish of that size. Returns how long to wait for the first bucket and for the second, in ms; both 0: it was
        taken."""
        publishes, data_bytes = self._publishes, self._bytes
        if publishes._at != now:  # one read brings many
            publishes._refill(now)
            data_bytes._refill(now)
        if publishes._left >= 1 and data_bytes._left >= size_bytes:  # the usual case
            publishes._left -= 1
            data_bytes._left -= size_bytes
            return _NO_WAIT
        return publishes._wait_ms(1), data_bytes._wait_ms(size_bytes)
