"""An experiment: one part of the simulator, set up so that a closed form gives the expected result.

An experiment is a frozen value: it can be compared, printed and sent to another process. It is run in replications that differ
only in their random numbers. Each replication gives one value for every quantity, so that messages or clients of one run, which
are not independent, are never counted as independent; the standard error is computed over the replications.

A quantity agrees when its mean is within `STANDARD_ERRORS_MAX` standard errors of the reference. That says little if the standard
error is large, so each quantity has a largest relative error that is allowed: above it the comparison is too imprecise, and
fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import ClassVar, Literal

import numpy as np

STANDARD_ERRORS_MAX = 3.3
"""Of correct quantities one in 400 is beyond it with 30 replications, and one in 700 with 80 (Student's t). `run` repeats their
experiments, so hardly any false alarm is left."""
ROUNDING = 1e-8
"""Possible effect of whole nanoseconds and sums of floats on a value, relative to the larger of it and 1."""
REPLICATIONS_MIN = 30

Verdict = Literal["agrees", "differs", "too imprecise"]


class NotAsSetUp(Exception):
    """The simulator did something else than the experiment assumes; there is nothing to compare. The text says what."""


def require(condition: bool, sentence: str) -> None:
    """Raises NotAsSetUp."""
    if not condition:
        raise NotAsSetUp(sentence)


@dataclass(frozen=True, slots=True)
class Expected:
    """The value of one quantity by a closed form. relative_error_max: of the standard error, in a full run."""

    value: float
    unit: str
    relative_error_max: float = 0.02


def share(value: float, count: int) -> Expected:
    """A probability that is estimated from so many independent cases: as precise as these allow, and a third less."""
    return Expected(value, "", 1.33 * math.sqrt((1 - value) / (value * count)))


@dataclass(frozen=True, kw_only=True)
class TheoryExperiment:
    """The fields of a subclass are its parameters; they and its class name it."""

    family: ClassVar[str]
    replications: ClassVar[int] = 80
    """Of a full run; a quick one has `REPLICATIONS_MIN`."""

    def expected(self) -> dict[str, Expected]:
        """The reference of each quantity."""
        raise NotImplementedError

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        """Run the simulator once and measure each quantity. Raises NotAsSetUp."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Unique among all experiments."""
        return f"{self.family}: {type(self).__name__}({self.parameters})"

    @property
    def parameters(self) -> str:
        return ", ".join(f"{field.name}={_short(getattr(self, field.name))}" for field in fields(self))

    def seed(self, seed: int) -> int:
        """This experiment's own seed, so that two experiments share no random number."""
        return int.from_bytes(blake2b(f"{seed}/{self.name}".encode(), digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True, slots=True)
class Number:
    """One quantity of one experiment, compared."""

    family: str
    experiment: str
    parameters: str
    quantity: str
    unit: str
    estimate: float
    reference: float
    standard_error: float
    z: float
    replications: int
    relative_error_max: float
    verdict: Verdict
    note: str = ""

    @property
    def is_right(self) -> bool:
        return self.verdict == "agrees"

    @property
    def resolution(self) -> float:
        """The smallest relative difference that would be detected."""
        return STANDARD_ERRORS_MAX * self.standard_error / abs(self.reference) if self.reference else math.inf


Observed = dict[str, float] | str
"""The result of one replication; or a sentence that says why there is none."""


def judge(experiment: TheoryExperiment, observed: Sequence[Observed], *, is_quick: bool) -> list[Number]:
    """Compare the replications with the references. If one has no result, nothing agrees."""
    notes = [values for values in observed if isinstance(values, str)]
    numbers = []
    for quantity, expected in experiment.expected().items():
        values = np.array([math.nan if isinstance(values, str) else values.get(quantity, math.nan) for values in observed])
        allowed = expected.relative_error_max
        if is_quick:
            allowed *= math.sqrt(experiment.replications / len(values))
        numbers.append(_compare(experiment, quantity, expected, values, allowed, notes[0] if notes else ""))
    return numbers


def _compare(
    experiment: TheoryExperiment, quantity: str, expected: Expected, values: np.ndarray, allowed: float, note: str
) -> Number:
    estimate = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    difference = estimate - expected.value
    rounding = ROUNDING * max(1.0, abs(expected.value))
    if abs(difference) <= rounding and error <= rounding:
        error, z = 0.0, 0.0
    else:
        z = difference / error if error else math.copysign(math.inf, difference)
    verdict: Verdict = "agrees"
    if not abs(z) <= STANDARD_ERRORS_MAX:  # a NaN agrees with nothing
        verdict = "differs"
    elif error > allowed * abs(expected.value):
        verdict = "too imprecise"
    return Number(
        family=experiment.family,
        experiment=type(experiment).__name__,
        parameters=experiment.parameters,
        quantity=quantity,
        unit=expected.unit,
        estimate=estimate,
        reference=expected.value,
        standard_error=error,
        z=z,
        replications=len(values),
        relative_error_max=allowed,
        verdict=verdict,
        note=note,
    )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
