"""Where a client's chance comes from: counted draws from one key, as the protocol wants them.

The key is secret and new for each client, so that a fleet does not move in step; with a seed it is the seed, and every wait of
the client repeats.
"""

import secrets
from hashlib import blake2b

_UNIT = 2.0**-53  # 53 bits are what a float in [0, 1) holds exactly


class KeyedRandomSource:
    """A pure function of (key, purpose, index): no draw changes another."""

    def __init__(self, seed: int | None = None) -> None:
        """`seed`: any integer of up to 63 bytes, None for a secret one."""
        self._key = secrets.token_bytes(32) if seed is None else seed.to_bytes(63, "little", signed=True)

    def uniform(self, purpose: str, index: int) -> float:
        """A number in [0, 1)."""
        digest = blake2b(f"{purpose}/{index}".encode(), key=self._key, digest_size=8).digest()
        return (int.from_bytes(digest, "little") >> 11) * _UNIT
