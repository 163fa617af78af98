"""Packet loss: which packets of one direction are lost.

    is_lost(packet, attempt, at)   packet: its number in this direction, from 0; attempt: 0 for the first time, then its
                                   retransmissions; at: when it is sent

Bernoulli samples belong to a packet and an attempt, so a path that loses more loses at least the same packets (common random
numbers). The Gilbert-Elliott chain begins in its stationary state and takes one step for each packet sent, including
retransmissions, in the order of the calls. The fades of an access link change with time, whatever is sent.
"""

import bisect
import math
from typing import Protocol, assert_never

from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.random import EntityRandom
from simulation.scenario.paths import BernoulliLoss, FadingLoss, GilbertElliottLoss, Loss

_ATTEMPTS = 128  # of one packet, at most; Tcp.retries is below


class Losses(Protocol):
    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool: ...


class _Bernoulli:
    __slots__ = ("_probability", "_random_source")

    def __init__(self, probability: float, random_source: EntityRandom) -> None:
        self._probability = probability
        self._random_source = random_source

    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool:
        if attempt:
            return self._random_source.uniform("loss again", packet * _ATTEMPTS + attempt) < self._probability
        return self._random_source.uniform("loss", packet) < self._probability


class _GilbertElliott:
    __slots__ = ("_is_bad", "_loss", "_random_source", "_steps")

    def __init__(self, loss: GilbertElliottLoss, random_source: EntityRandom) -> None:
        self._loss = loss
        self._random_source = random_source
        self._steps = 0
        bad_share = loss.good_to_bad / (loss.good_to_bad + loss.bad_to_good)
        self._is_bad = random_source.uniform("burst at first", 0) < bad_share

    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool:
        loss, step = self._loss, self._steps
        self._steps = step + 1
        probability = loss.loss_in_bad if self._is_bad else loss.loss_in_good
        # A certain outcome needs no sample; the step has a separate one, so both stay aligned.
        is_lost = probability == 1 or (probability > 0 and self._random_source.uniform("loss", step) < probability)
        turns = self._random_source.uniform("burst", step) < (loss.bad_to_good if self._is_bad else loss.good_to_bad)
        self._is_bad ^= turns
        return is_lost


_FADES_KEPT = 256


class Fades:
    """The good and bad periods of an access link in one direction, exponential, with a stationary beginning."""

    __slots__ = ("_begins_bad", "_ends", "_forgotten", "_loss", "_random_source")

    def __init__(self, loss: FadingLoss, random_source: EntityRandom) -> None:
        self._loss = loss
        self._random_source = random_source
        self._begins_bad = random_source.uniform("fade at first", 0) < loss.bad_ms / (loss.good_ms + loss.bad_ms)
        self._ends: list[int] = []  # of each period, in ns
        self._forgotten = 0

    def is_bad(self, at: int) -> bool:
        """Whether the link is bad at `at`, in ns; `at` must not be before a forgotten time."""
        ends = self._ends
        while not ends or ends[-1] <= at:
            number = self._forgotten + len(ends)
            mean_ms = self._loss.bad_ms if self._begins_bad == (number % 2 == 0) else self._loss.good_ms
            lasts = -mean_ms * NS_PER_MS * math.log1p(-self._random_source.uniform("fade", number))
            ends.append((ends[-1] if ends else 0) + max(1, round(lasts)))
        return self._begins_bad == ((self._forgotten + bisect.bisect_right(ends, at)) % 2 == 0)

    def forget_before(self, at: int) -> None:
        """Earlier times will not be needed any more."""
        over = bisect.bisect_right(self._ends, at)
        if over > _FADES_KEPT:
            del self._ends[: over - 1]
            self._forgotten += over - 1


class _Fading:
    __slots__ = ("_fades", "_loss", "_random_source")

    def __init__(self, loss: FadingLoss, fades: Fades, random_source: EntityRandom) -> None:
        self._loss = loss
        self._fades = fades
        self._random_source = random_source

    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool:
        if not attempt:
            self._fades.forget_before(at - _BACKWARDS_MAX)
        probability = self._loss.loss_in_bad if self._fades.is_bad(at) else self._loss.loss_in_good
        if probability in (0, 1):
            return probability == 1
        return self._random_source.uniform("loss", packet * _ATTEMPTS + attempt) < probability


_BACKWARDS_MAX = 1_000 * NS_PER_S
"""Connections of one link send at different times: one may be this far ahead of another, including later retransmissions."""


class _NoLoss:
    __slots__ = ()

    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool:
        return False


def losses_of(loss: Loss | None, random_source: EntityRandom, fades: Fades | None = None) -> Losses:
    """The losses of one direction of one connection. `fades`: of its access link, for a FadingLoss; None: its own."""
    match loss:
        case None:
            return _NoLoss()
        case BernoulliLoss(probability=probability):
            return _Bernoulli(probability, random_source)
        case GilbertElliottLoss():
            return _GilbertElliott(loss, random_source)
        case FadingLoss():
            return _Fading(loss, Fades(loss, random_source) if fades is None else fades, random_source)
        case _:
            assert_never(loss)
