"""A comparison's demands on the machine, its verdicts, and its drawings."""

import msgspec
import numpy as np
import pytest

from reference.protocol.errors import ConfigError
from simulation.processes.fidelity.comparison import Difference, compare
from simulation.processes.fidelity.costs import MeasuredCosts
from simulation.processes.fidelity.drawing import draw_distributions
from simulation.processes.fidelity.machine import BUSY_SHARE_MAX, LOOKS_MAX, require_quiet, share_between, wait_until_quiet
from simulation.processes.fidelity.measures import ComparedMeasure
from simulation.processes.fidelity.report import Compared, FidelityReport
from simulation.scenario.distributions import Constant


def measure(values: list[float]) -> ComparedMeasure:
    return ComparedMeasure("round trip", "s", tuple(np.array([value]) for value in values), len(values))


def verdict(simulated: list[float], real: list[float]) -> str:
    return compare(measure(simulated), measure(real), seed=1)[0].verdict


def test_a_busy_machine_is_refused() -> None:
    require_quiet(BUSY_SHARE_MAX)
    with pytest.raises(ConfigError, match=r"busy \(40% .* run this again"):
        require_quiet(0.4)


def test_a_machine_that_is_busy_for_a_moment_is_waited_for() -> None:
    """A comparison of half an hour must not end because something else ran for a second between two of its runs."""
    shares, said = iter([0.4, 0.9, 0.1]), list[str]()
    assert wait_until_quiet(lambda: next(shares), waiting=said.append) == 0.1
    assert len(said) == 1
    assert wait_until_quiet(lambda: 0.2, waiting=said.append) == 0.2
    assert len(said) == 1, "nothing to wait for"


def test_it_is_not_waited_for_ever() -> None:
    looks = list[float]()

    def look() -> float:
        looks.append(0.5)
        return 0.5

    assert wait_until_quiet(look, waiting=lambda line: None) == 0.5
    assert len(looks) == LOOKS_MAX


def test_the_share_is_what_was_not_idle() -> None:
    assert share_between((100, 1000), (175, 1100)) == 0.25
    assert share_between((100, 1000), (100, 1000)) == 0.0


def test_a_verdict_is_weighed_by_its_interval_and_its_samples() -> None:
    near, far = list(np.linspace(0.100, 0.104, 200)), list(np.linspace(0.200, 0.204, 200))
    assert verdict(near, near) == "yes"
    assert verdict(far, near) == "no"
    assert verdict(near[:5], near[:5]) == "perhaps", "too few to say so"
    wide = list(np.linspace(0.01, 1.0, 12))
    assert verdict(wide, wide) == "perhaps", "an interval wider than the tolerance"
    assert verdict([], near) == "nothing to compare"


def compared(late_ms: float, differences: tuple[Difference, ...]) -> Compared:
    return Compared(scenario="s", seed=1, clients=1, late_p95_ms=late_ms, differences=differences)


def recovery(real_s: float) -> Difference:
    """Of two seconds in the simulator."""
    return compare(
        ComparedMeasure("recovery", "s", (np.full(50, 2.0),), 50),
        ComparedMeasure("recovery", "s", (np.full(50, real_s),), 50),
        seed=1,
    )[0]


def test_what_was_late_is_not_judged() -> None:
    near = list(np.linspace(0.100, 0.104, 200))
    differences = tuple(compare(measure(near), measure(near), seed=1))
    assert compared(1.0, differences).agrees
    assert not compared(80.0, differences).is_judged
    assert not compared(80.0, differences).agrees


def test_both_distributions_are_drawn() -> None:
    figure = draw_distributions({"a": measure([0.1, 0.2])}, {"a": measure([0.1, 0.3, 0.4])}, title="t")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["simulated (2)", "real (3)"]


def test_a_machine_that_was_busy_before_is_not_judged() -> None:
    quiet = compared(1.0, (recovery(2.0),))
    assert quiet.is_judged
    assert not msgspec.structs.replace(quiet, busy_before=0.9).is_judged


def test_repeats_are_summed_up_by_figure() -> None:
    repeats = [
        msgspec.structs.replace(compared(1.0, (recovery(real_s),)), repetition=n) for n, real_s in enumerate((1.9, 2.1, 2.5), 1)
    ]
    late = msgspec.structs.replace(compared(80.0, (recovery(9.0),)), repetition=4)
    costs = MeasuredCosts(
        hop=Constant(value=0.0), commit_time=Constant(value=0.0), frame_cost_s=0.0, delivery_cost_s=0.0, handshake_cost_s=0.0
    )
    summary = list(FidelityReport(costs=costs, scenarios=(*repeats, late)).summary())
    assert summary == [("s", "recovery", "p50", "2 s", "2.1 s", "-500.0 ms", "2 of 3", "1")]
