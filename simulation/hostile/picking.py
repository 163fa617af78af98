"""How a drawn number names something that is there."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def pick(items: Sequence[T], index: int) -> T | None:
    """One of them, whatever the number is; None if there are none."""
    return items[index % len(items)] if items else None
