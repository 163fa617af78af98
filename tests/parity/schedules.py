"""The order in which trio runs tasks that can run at the same moment: trio draws it, and here the draws can be chosen.

On sockets the order of two things that happen in the same instant is nobody's to say, and trio makes sure that nobody relies on
one: it turns the batch of tasks around, or not, by a draw. In virtual time whole chains of causes share one instant, so what
comes of a tie depends on these draws. With a schedule chosen a run repeats; with several, it is seen whether any of it mattered.

trio offers this to Hypothesis only (it hands over the same generator, under the same switch), so it is taken where Hypothesis
takes it, and given back as it was.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from trio._core import _run  # what trio registers with Hypothesis; it has no public name


@contextmanager
def scheduled(schedule: int) -> Iterator[None]:
    """Run trio's tasks in the order that belongs to `schedule`."""
    generator, is_deterministic = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING = random.Random(schedule), True
    try:
        yield
    finally:
        _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING = generator, is_deterministic
