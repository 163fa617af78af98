"""Comparison of tuned settings with the presets of well-known systems, in the same scenarios on the same seeds.

Every preset of `client.policy` runs `preset_replications` times, the `preset_finalists` best of them as often as the finalists.
Then settings and presets are compared in each objective, replication by replication: the chosen setting, and with `search =
"front"` every finalist that keeps the constraints. A difference of at most `delta` does not matter. A setting beats a preset if
it is better in an objective and worse in none. If each is better in something, both are on one Pareto front.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from simulation.scenario.presets import PRESETS, SHIPPED
from simulation.studies.design import Point
from simulation.studies.execution import Report
from simulation.studies.statistics import Interval, paired_interval
from simulation.studies.tuning.evaluation import Candidate, Evaluator
from simulation.studies.tuning.question import Figures, Objective, Scorer, by_replication

RATIO_MOST = 100.0
"""In a comparison a larger ratio counts as this one, so that one without an end ("never back") can be subtracted."""

Runs = Sequence[Sequence[Figures]]
"""The figures of one setting: [scenario][replication]."""


def run_presets(
    evaluator: Evaluator, replications: int, say: Callable[[str], None], report: Report | None
) -> tuple[tuple[Candidate, ...], dict[str, Runs]]:
    """Run every preset; `replications`: of the finalists. Returns them scored, and their figures by name."""
    asked = evaluator.tune
    points: dict[str, Point] = {name: {"client.policy": {"kind": "preset", "preset": name}} for name in PRESETS}
    points = {name: point for name, point in points.items() if name in SHIPPED and evaluator.check(point) is None}
    candidates: dict[str, Candidate] = {}
    figures: dict[str, Runs] = {}

    def run(names: Sequence[str], times: int) -> None:
        say(f"presets: {len(names)} x {times} replications")
        found = evaluator.runs([points[name] for name in names], times, fresh=True, report=report)
        scorer = evaluator.scorer(times, fresh=True)
        for name, runs in zip(names, found, strict=True):
            candidates[name] = evaluator.candidate(name, points[name], runs, scorer)
            figures[name] = runs

    run(list(points), min(asked.preset_replications, replications))
    if asked.preset_finalists and asked.preset_replications < replications:
        run(sorted(candidates, key=lambda name: candidates[name].score)[: asked.preset_finalists], replications)
    return tuple(candidates.values()), figures


def compared(evaluator: Evaluator, settings: Mapping[str, Runs], presets: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per preset, setting and objective: preset, setting, objective, mean (the setting's ratio less the preset's), low,
    high, n, verdict on the setting (better, worse, equal, unknown). The intervals hold all at once (Bonferroni) with the study's
    confidence."""
    objectives = evaluator.tune.objectives
    each = 1 - (1 - evaluator.tune.confidence) / max(1, len(presets) * len(settings) * len(objectives))
    scorers = {times: evaluator.scorer(times, fresh=True) for times in sorted({len(runs[0]) for runs in presets.values()})}
    rows = []
    for preset, of_preset in presets.items():
        times = len(of_preset[0])
        for setting, of_setting in settings.items():
            for objective in objectives:
                own, other = (ratios(scorers[times], objective, runs, times) for runs in (of_setting, of_preset))
                difference = paired_interval(own, other, each)
                about = {"preset": preset, "setting": setting, "objective": objective.figure}
                rows.append({**about, **difference._asdict(), "verdict": verdict(difference, evaluator.tune.delta)})
    return pd.DataFrame(rows)


def beaten_by(against: pd.DataFrame, setting: str) -> list[str]:
    """The presets of `compared` that this setting beats."""
    rows_of_setting = against[against["setting"] == setting]
    return [str(preset) for preset, rows in rows_of_setting.groupby("preset", sort=False) if _beats(rows["verdict"])]


def sentences(against: pd.DataFrame, best: str, delta: float) -> list[str]:
    """The conclusions from `compared` for the chosen setting; and, if others were compared too, for all of them."""
    presets = list(dict.fromkeys(against["preset"]))
    rows_of = {str(name): rows for name, rows in against[against["setting"] == best].groupby("preset", sort=False)}
    better, worse = ({name: _objectives(rows, kind) for name, rows in rows_of.items()} for kind in ("better", "worse"))
    beaten = beaten_by(against, best)
    shown = [name for name in beaten if rows_of[name]["verdict"].isin(("better", "equal")).all()]
    front = [name for name in presets if better[name] and worse[name]]
    behind = [name for name in presets if worse[name] and not better[name]]
    unknown = [name for name in presets if not better[name] and not worse[name]]
    lines = [
        (
            f"Better than {len(beaten)} of {len(presets)} presets in an objective by more than {delta:.0%}, and worse in none: "
            f"{_listed(beaten)}. Shown to be at most {delta:.0%} worse in every objective: {len(shown)} of these."
        )
    ]
    if front:
        trades = (f"{name} (better in {_listed(better[name])}; worse in {_listed(worse[name])})" for name in front)
        lines.append(f"On one front with {'; '.join(trades)}.")
    if behind:
        than = "; ".join(f"{name} ({_listed(worse[name])})" for name in behind)
        lines.append(f"Better in nothing and worse than {than}.")
    if unknown:
        lines.append(f"Not told apart from {_listed(unknown)}.")
    others = against["setting"].nunique()
    if others > 1:
        by_any = {preset for (preset, _), rows in against.groupby(["preset", "setting"]) if _beats(rows["verdict"])}
        left = [name for name in presets if name not in by_any]
        count = f"{len(by_any)} of {len(presets)} presets"
        lines.append(f"{count} are beaten by at least one of {others} finalists; not beaten: {_listed(left)}.")
    return lines


def ratios(scorer: Scorer, objective: Objective, runs: Runs, times: int) -> list[float]:
    """One objective's ratio by replication (`by_replication`), of the first ones."""
    firsts = [each[:times] for each in runs]
    values = by_replication(scorer, lambda each, means: each.objective(objective, means), firsts, (objective.figure,))
    return [min(value, RATIO_MOST) for value in values]


def verdict(difference: Interval, delta: float) -> str:
    """What the interval of a difference says about the first of two settings."""
    if difference.high < -delta:
        return "better"
    if difference.low > delta:
        return "worse"
    return "equal" if -delta <= difference.low and difference.high <= delta else "unknown"


def _beats(verdicts: "pd.Series[str]") -> bool:
    return "better" in set(verdicts) and "worse" not in set(verdicts)


def _objectives(rows: pd.DataFrame, kind: str) -> list[str]:
    return [str(each) for each in rows["objective"][rows["verdict"] == kind]]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
