"""Which packets are lost: the loss of a path as a process over one direction's packets.

    is_lost(packet, attempt)   packet: its number in this direction, from 0; attempt: 0 the first time, then its retransmissions

Bernoulli draws belong to a packet and an attempt, so a path that loses more loses at least the same packets (common random
numbers).
The Gilbert-Elliott chain begins in its stationary state and takes one step for each packet that is sent, retransmissions
included, in the order in which they are asked about.
"""

from typing import Protocol, assert_never

from simulation.random import EntityRandom
from simulation.scenario.paths import BernoulliLoss, GilbertElliottLoss, Loss

_ATTEMPTS = 128  # of one packet, at the most; Tcp.retries is below


class Losses(Protocol):
    def is_lost(self, packet: int, attempt: int = 0) -> bool: ...


class _Bernoulli:
    __slots__ = ("_probability", "_random_source")

    def __init__(self, probability: float, random_source: EntityRandom) -> None:
        self._probability = probability
        self._random_source = random_source

    def is_lost(self, packet: int, attempt: int = 0) -> bool:
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

    def is_lost(self, packet: int, attempt: int = 0) -> bool:
        loss, step = self._loss, self._steps
        self._steps = step + 1
        probability = loss.loss_in_bad if self._is_bad else loss.loss_in_good
        # A certain outcome needs no draw; that of a step is drawn apart from it, so both stay aligned.
        is_lost = probability == 1 or (probability > 0 and self._random_source.uniform("loss", step) < probability)
        turns = self._random_source.uniform("burst", step) < (loss.bad_to_good if self._is_bad else loss.good_to_bad)
        self._is_bad ^= turns
        return is_lost


class _NoLoss:
    __slots__ = ()

    def is_lost(self, packet: int, attempt: int = 0) -> bool:
        return False


def losses_of(loss: Loss | None, random_source: EntityRandom) -> Losses:
    """The process of one direction of one connection."""
    match loss:
        case None:
            return _NoLoss()
        case BernoulliLoss(probability=probability):
            return _Bernoulli(probability, random_source)
        case GilbertElliottLoss():
            return _GilbertElliott(loss, random_source)
        case _:
            assert_never(loss)
