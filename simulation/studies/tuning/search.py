"""The search of a tuning: tries settings, chooses among the finalists with fresh seeds, and computes the certainty.

    answer = tune(load_study(path), path.parent, workers=-1, folder="balancer.tune")
    answer.selection.best, answer.selection.is_good, settings(answer)

1. The baseline, the unchanged setting, runs in every scenario: every score is relative to it (`evaluation`, `question`).
2. Optuna proposes settings in batches (TPE with constraints; several objectives are searched together), and they run.
3. The finalists (feasible, the best scores, and the Pareto front) run with seeds that the search has not seen, because the winner
   of a search was also lucky. Replications are added until the best one is known with enough confidence (`selection`). With
   `keep_baseline` the unchanged setting is chosen unless another one is better by more than `delta`.
4. Presets of well-known systems run in the same scenarios on the same seeds, for comparison (`presets`).

Equal studies give equal answers, for any number of workers and any backend.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.scenario.presets import SHIPPED
from simulation.scenario.scenario import Scenario
from simulation.studies.design import Choice, Point, Range
from simulation.studies.execution import Report, duration
from simulation.studies.experiment import describe
from simulation.studies.study import Study, parameters_of
from simulation.studies.tuning.evaluation import Candidate, Evaluator
from simulation.studies.tuning.presets import Runs, compared, run_presets
from simulation.studies.tuning.question import Scorer, Tune, by_replication, mean_figures
from simulation.studies.tuning.scale_check import scale_check
from simulation.studies.tuning.selection import Selection, pareto_front, select
from simulation.studies.tuning.space import point_of

BASELINE = "as it is"
MEASURABLE_S = 0.05
"""If the baseline took less time than this, the total cannot be estimated from it."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tuned:
    """The answer. `trials`: every setting of the search, in order. `finalists`: with fresh seeds, and the baseline; `presets`
    likewise. `selection`: the best finalist and its certainty; None if none satisfies the constraints."""

    study: Study
    scenarios: tuple[Scenario, ...]
    baseline: Candidate
    trials: tuple[Candidate, ...]
    finalists: tuple[Candidate, ...]
    presets: tuple[Candidate, ...]
    selection: Selection | None
    against: pd.DataFrame | None = None
    """The chosen setting, of a front every finalist, compared with each preset (`presets.compared`)."""
    scales: pd.DataFrame | None = None
    """The chosen setting and the baseline at several scales (`scale_check`)."""

    @property
    def best(self) -> Candidate | None:
        """The chosen finalist."""
        if self.selection is None:
            return None
        return next(each for each in self.finalists if each.name == self.selection.best)

    @property
    def tuned_scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios with the chosen setting. Raises ConfigError if there is none."""
        best = self.best
        if best is None:
            raise ConfigError("no setting keeps the constraints: there is nothing to apply")
        return tuple(scenario.replace(best.point) for scenario in self.scenarios)

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The feasible trials that no other trial dominates."""
        feasible = [trial for trial in self.trials if trial.is_feasible]
        return tuple(feasible[place] for place in pareto_front([trial.objectives for trial in feasible]))

    def table(self) -> pd.DataFrame:
        """Finalists and presets by score: name, kind, score, the ratio of each objective, whether it keeps the
        constraints, and each figure as the mean over the scenarios."""
        asked = self.study.tuning
        rows = []
        for kind, candidates in (("finalist", self.finalists), ("preset", self.presets)):
            for each in candidates:
                row = {"setting": each.name, "kind": "baseline" if each.name == BASELINE else kind, "score": each.score}
                for objective, ratio in zip(asked.objectives, each.objectives, strict=True):
                    row[f"{objective.figure} ratio"] = ratio
                row["keeps constraints"] = each.is_feasible
                for figure in asked.figures:
                    row[figure] = mean_figures(each.figures, (figure,))[figure]
                rows.append(row)
        return pd.DataFrame(rows).sort_values("score", kind="stable").reset_index(drop=True)


def tune(
    study: Study,
    folder_of_study: Path,
    *,
    workers: int = 1,
    dask: str | None = None,
    folder: str | Path | None = None,
    say: Say = lambda _: None,
    report: Report | None = None,
) -> Tuned:
    """Answer a study. `folder`: finished runs are kept there, and an interrupted tuning continues. Raises ConfigError."""
    evaluator = Evaluator(study, folder_of_study, workers=workers, dask=dask, folder=folder)
    if evaluator.note:
        say(evaluator.note)
    asked = study.tuning
    space = parameters_of(study.parameters)
    if not space:
        raise ConfigError("there is nothing to tune: the study needs [parameters]")
    say(f"baseline: {len(evaluator.scenarios)} scenarios x {asked.replications} replications")
    began = time.perf_counter()
    scorer = evaluator.scorer(asked.replications, fresh=False)
    if (took_s := time.perf_counter() - began) > MEASURABLE_S:  # else the runs were in the folder
        at_a_time = min(asked.replications, evaluator.processes)  # of the baseline; what follows keeps all processes busy
        say(f"estimated: {duration(took_s * at_a_time / asked.replications * _rounds(asked) / evaluator.processes)}")
    trials = _search(evaluator, space, study.seed or 1, scorer, say, report)
    chosen = _finalists(trials, asked)
    if not chosen:
        say("no trial has a score and keeps the constraints")
    if not chosen and not asked.candidates:
        baseline = evaluator.candidate(BASELINE, {}, evaluator.runs([{}], asked.replications, fresh=False)[0], scorer)
        return Tuned(study, evaluator.scenarios, baseline, trials, (), (), None)
    finals = _finals(evaluator, chosen, say, report)
    baseline, best = finals.named(BASELINE), finals.named(finals.selection.best)
    presets: tuple[Candidate, ...] = ()
    against: pd.DataFrame | None = None
    scales: pd.DataFrame | None = None
    if asked.compare_presets:
        presets, runs = run_presets(evaluator, finals.selection.replications, say, report)
        is_front = asked.search == "front" and len(asked.objectives) > 1
        settings = [each.name for each in finals.finalists if each.is_feasible] if is_front else [best.name]
        against = compared(evaluator, {name: finals.runs[name] for name in settings}, runs)
    if asked.full is not None:
        say(f"scales {', '.join(f'{scale:g}' for scale in asked.full.scales)}: x {asked.full.replications} replications")
        both = {each.name: each.point for each in (baseline, best)}
        scales = scale_check(evaluator, asked.full, list(both.items()), report)
    return Tuned(study, evaluator.scenarios, baseline, trials, finals.finalists, presets, finals.selection, against, scales)


def _rounds(asked: Tune) -> int:
    """How many replications of one setting in every scenario are ahead, if the finals need no more than their first ones."""
    finals = (1 + len(asked.candidates) + asked.finalists) * asked.final_replications
    presets = 0
    if asked.compare_presets:
        few = min(asked.preset_replications, asked.final_replications)
        presets = len(SHIPPED) * few + min(len(SHIPPED), asked.preset_finalists) * (asked.final_replications - few)
    return asked.trials * asked.replications + finals + presets


def _search(
    evaluator: Evaluator, space: Mapping[str, Range | Choice], seed: int, scorer: Scorer, say: Say, report: Report | None
) -> tuple[Candidate, ...]:
    """Optuna's trials, in batches. Settings without a valid scenario are reported as failed and cost nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = evaluator.tune
    sampler = optuna.samplers.TPESampler(
        seed=seed % 2**32,
        n_startup_trials=max(asked.batch, min(asked.trials // 3, 10 * len(space))),
    )
    aims = 1 if asked.search == "score" else len(asked.objectives)
    search = optuna.create_study(directions=["minimize"] * aims, sampler=sampler)
    trials: list[Candidate] = []
    asked_for = 0
    while asked_for < asked.trials:
        batch: list[tuple[Any, Point]] = []
        while len(batch) < min(asked.batch, asked.trials - asked_for):
            trial = search.ask()
            point = point_of(space, functools.partial(_suggest, trial))
            problem = evaluator.check(point)
            if problem is None:
                batch.append((trial, point))
                continue
            search.tell(trial, state=optuna.trial.TrialState.FAIL)
            asked_for += 1
            if asked_for >= asked.trials:
                break
        asked_for += len(batch)
        if not batch:
            if not trials:
                raise ConfigError(f"no setting of the space makes a scenario: {problem}")
            break
        found = evaluator.runs([point for _, point in batch], asked.replications, fresh=False, report=report)
        for (trial, point), per_scenario in zip(batch, found, strict=True):
            candidate = evaluator.candidate(f"trial {len(trials)}", point, per_scenario, scorer)
            for constraint, excess in zip(asked.constraint_names, candidate.excesses, strict=True):
                trial.set_constraint(constraint, min(excess, 1e9))
            search.tell(trial, [min(value, 1e9) for value in _aims(candidate, asked)])
            trials.append(candidate)
        feasible = [each.score for each in trials if each.is_feasible]
        best = f"best score {min(feasible):.3f}" if feasible else "none keeps the constraints yet"
        say(f"trials: {asked_for} of {asked.trials}, {best}")
    return tuple(trials)


def _aims(candidate: Candidate, asked: Tune) -> tuple[float, ...]:
    """The values that the search minimises."""
    return (candidate.score,) if asked.search == "score" else candidate.objectives


def _suggest(trial: Any, name: str, parameter: Range | Choice) -> Any:
    """Let Optuna choose; of a Choice the index of the value, because values can be whole tables."""
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, list(range(len(parameter.values))))
    is_log = parameter.scale == "log"
    if parameter.whole:
        return trial.suggest_int(name, math.ceil(parameter.low), math.floor(parameter.high), log=is_log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=is_log)


def _finalists(trials: Sequence[Candidate], asked: Tune) -> list[Candidate]:
    """Feasible trials: the best scores, with `search = "front"` then the Pareto front at even distances along its first
    objective, then the next best scores."""
    feasible = sorted((each for each in trials if each.is_feasible and math.isfinite(each.score)), key=lambda each: each.score)
    best = feasible[: max(1, asked.finalists // 2)]
    front: list[Candidate] = []
    if asked.search == "front":
        front = [feasible[place] for place in pareto_front([each.objectives for each in feasible])]
        front.sort(key=lambda each: each.objectives[0])
        wanted = max(1, asked.finalists - len(best))
        front = [front[round(place)] for place in np.linspace(0, len(front) - 1, wanted)] if front else []
    unique = {describe(each.point): each for each in (*best, *front, *feasible)}
    return list(unique.values())[: asked.finalists]


@dataclass(frozen=True)
class _Finals:
    """`runs`: the figures of each finalist by name."""

    finalists: tuple[Candidate, ...]
    selection: Selection
    runs: Mapping[str, Runs]

    def named(self, name: str) -> Candidate:
        return next(each for each in self.finalists if each.name == name)


def _finals(evaluator: Evaluator, chosen: Sequence[Candidate], say: Say, report: Report | None) -> _Finals:
    """Run the finalists, the study's own candidates and the baseline on fresh seeds until the best is known well enough."""
    asked = evaluator.tune
    points: dict[str, Point] = {BASELINE: {}}
    points |= {f"candidate {number}": dict(point) for number, point in enumerate(asked.candidates, 1)}
    points |= {each.name: each.point for each in chosen}
    replications = asked.final_replications
    while True:
        say(f"finals: {len(points)} settings x {replications} fresh replications")
        found = evaluator.runs(list(points.values()), replications, fresh=True, report=report)
        runs: Mapping[str, Runs] = dict(zip(points, found, strict=True))
        scorer = evaluator.scorer_of(runs[BASELINE])
        finalists = tuple(evaluator.candidate(name, point, runs[name], scorer) for name, point in points.items())
        scores = {
            each.name: by_replication(scorer, Scorer.score, runs[each.name], asked.figures)
            for each in finalists
            if each.is_feasible
        }
        if not scores:
            raise ConfigError("no finalist keeps the constraints on fresh seeds; run more trials, or loosen a constraint")
        selection = select(scores, delta=asked.delta, confidence=asked.confidence, keep=BASELINE if asked.keep_baseline else None)
        if selection.is_good >= asked.confidence or replications >= asked.final_replications_max:
            return _Finals(finalists, selection, runs)
        replications = min(2 * replications, asked.final_replications_max)
