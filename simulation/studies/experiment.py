"""An experiment: one scenario, a design of settings, figures of each run, and their statistics.

    experiment = Experiment(
        scenario=load_scenario("load_balancer_cut"),
        design=grid({"client.policy.cap_s": [5, 10, 30]}),
        figures=("interruption_p99_s", busiest_second),     # columns of the summary, or functions on a Result
        replications=20,
    )
    outcome = experiment.run(workers=-1, folder="runs")
    outcome.points, outcome.pairs("interruption_p99_s")

Every point runs with the same replications, and random numbers are keyed by (seed, replication, entity, purpose, index). So two
points have the same arrivals, losses and samples (common random numbers) and are compared pair by pair. A run that fails is a row
with an error, not the end of the experiment.
"""

import difflib
import json
import math
import pickle
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.results.frames import Frames
from simulation.scenario.scaling import EXTENSIVE, scaled
from simulation.scenario.scenario import Group, Scenario, parse_scenario
from simulation.studies import execution, statistics
from simulation.studies.design import Point, points_of
from simulation.studies.execution import Backend, Report, Row, Rows, Task
from simulation.studies.figures import DERIVED
from simulation.studies.identity import figure_identity, policies_identity, program_version
from simulation.studies.statistics import CONFIDENCE, Interval
from simulation.world import Result, World

Figure = str | Callable[[Result], "float | int | bool | Mapping[str, float] | Sequence[float] | np.ndarray[Any, Any]"]
"""A column of the summary, a name of `figures`, or a function on a Result. A number is a column with the function's name; a
mapping gives a column for each key; an array is a sample: it is kept whole, for quantiles over all runs (`Outcome.quantile`), and
for a mean without the warm-up (`Experiment.warm_up`)."""

RUNS_MAX = 1_000_000
ABOUT = ("point", "replication", "seed", "scenario", "trace", "violated", "error")
"""Columns of `runs` that are not figures."""


@dataclass(frozen=True)
class Precision:
    """When enough replications have run: the half width of the interval of `figure` is at most `half_width` at every point
    (`relative`: at most that share of its mean). Replications are added until then, at most `replications_max` at each point.

    With fewer than 10 replications at the start, such a rule stops too early too often, so they are refused. `confidence`: of
    that interval; None: the experiment's. A point whose mean is infinite, or that has fewer than two values, gets no more.
    """

    figure: str
    half_width: float
    relative: bool = False
    replications_max: int = 200
    confidence: float | None = None


@dataclass(frozen=True)
class Experiment:
    """`design`: points (see `design`), a DataFrame with a column for each parameter, or nothing for the scenario as it is.
    `figures`: none means every column of the summary. `seed` None: the scenario's own. `until`: see Precision. `scale`: the runs
    are of worlds smaller by this factor (`simulation.scenario.scaling`); points and figures are those of the full one.

    `warm_up` "mser": the warm-up at the start of each sample is found and left out (`statistics.mser`), and the mean of the rest
    is a figure under the sample's name. A sample is then a series: its values in the order of time. All replications of a point
    lose equally many values; `Outcome.warm_ups` says how many. A NaN in a series is a moment without a value and keeps its place.
    (A warm-up that is known is the scenario's `warm_up_s`.)

    `confidence`: of all intervals of the outcome; None: that of `until`, or else 0.95."""

    scenario: Scenario
    design: "Iterable[Mapping[str, Any]] | pd.DataFrame" = ({},)
    figures: Sequence[Figure] = ()
    replications: int = 10
    seed: int | None = None
    until: Precision | None = None
    scale: float = 1.0
    warm_up: Literal["mser"] | None = None
    confidence: float | None = None
    points: list[Point] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.replications <= RUNS_MAX:
            raise ConfigError(f"replications = {self.replications}: at least one")
        if self.until is not None and self.replications < 10:
            raise ConfigError("stopping at a precision needs at least 10 replications to begin with")
        for confidence in (self.asked_confidence, self.rule_confidence):
            statistics.checked_confidence(confidence)
        if self.warm_up not in (None, "mser"):
            raise ConfigError(f'warm_up = {self.warm_up!r}: "mser", or None to leave nothing out')
        if self.warm_up is not None and all(isinstance(figure, str) for figure in self.figures):
            raise ConfigError("a warm-up is cut off a series: give a figure that is a function and gives an array")
        points = points_of(self.design)
        object.__setattr__(self, "points", points)
        if len(points) * self.replications > RUNS_MAX:
            raise ConfigError(f"{len(points)} points times {self.replications} replications; the limit is {RUNS_MAX} runs")
        names = [name_of(figure) for figure in self.figures]
        if len(set(names)) < len(names):
            raise ConfigError(f"two figures have the same name: {', '.join(names)}; name the functions apart")
        check_figures(self.figures)
        _ = self.scenarios  # a point without a valid scenario is refused before anything runs

    @property
    def asked_confidence(self) -> float:
        """The confidence of every interval of the outcome."""
        if self.confidence is not None:
            return self.confidence
        return CONFIDENCE if self.until is None or self.until.confidence is None else self.until.confidence

    @property
    def rule_confidence(self) -> float:
        """The confidence of the interval that `until` makes narrow."""
        return self.asked_confidence if self.until is None or self.until.confidence is None else self.until.confidence

    @property
    def paths(self) -> tuple[str, ...]:
        """The parameters that any point sets."""
        return tuple(dict.fromkeys(path for point in self.points for path in point))

    @cached_property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The scenario of each point. Raises ConfigError."""
        base = self.scenario if self.seed is None else self.scenario.replace(seed=self.seed)
        variants = []
        for number, point in enumerate(self.points):
            try:
                variants.append(scaled(base.replace(point), self.scale))
            except ConfigError as error:
                raise ConfigError(f"point {number} ({describe(point)}): {error}") from None
        return tuple(variants)

    def estimate_s(self, *, workers: int = 1) -> float:
        """The approximate duration, in seconds, from one run of the first point and one of the last."""
        began = time.perf_counter()
        for scenario in (self.scenarios[0], self.scenarios[-1]):
            World(scenario, 0).run()
        each_s = (time.perf_counter() - began) / 2
        return each_s * len(self.points) * self.replications / Backend(workers).processes

    def run(
        self,
        *,
        workers: int = 1,
        dask: str | None = None,
        folder: str | Path | Rows | None = None,
        report: Report | None = None,
    ) -> "Outcome":
        """Run everything that is not in `folder` yet (a folder, or the `Rows` read from one); see `execution` for workers, dask
        and folder. Raises ConfigError.

        `report`: called with the progress. The rows do not depend on workers, order or backend.
        """
        backend = Backend(workers, dask)
        finished = folder if isinstance(folder, Rows) else Rows(folder)
        counts = [self.replications] * len(self.points)
        while True:
            tasks = list(self._tasks(counts))
            rows = execution.carry_out(run_task, tasks, backend, finished, report)
            outcome = Outcome(self, tuple(self._row(task, row) for task, row in zip(tasks, rows, strict=True)))
            more = outcome._more_needed(counts)
            if more == counts:
                return outcome
            counts = more

    def _tasks(self, counts: Sequence[int]) -> Iterable[Task]:
        payload, program = execution.pickled((tuple(self.figures), self.scale)), program_version()
        figures = ",".join(figure_identity(name_of(figure), figure) for figure in self.figures)
        code = f"{figures}/{self.scale}/{policies_identity()}"
        for number, (scenario, replications) in enumerate(zip(self.scenarios, counts, strict=True)):
            text = scenario.to_json()
            for replication in range(replications):
                yield Task(number, replication, text, payload, code, program)

    def _row(self, task: Task, row: Row) -> Row:
        if self.scale != 1:
            row = {name: value * self.scale if name in EXTENSIVE else value for name, value in row.items()}
        return {"point": task.point, **named(self.points[task.point]), **row}


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment. Frames are built when they are first used. Intervals have the experiment's confidence unless
    another is given."""

    experiment: Experiment
    rows: tuple[Row, ...]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: point, the values of the design, seed, replication, digests of scenario and trace, the guarantees that
        were violated, the error of a run that failed (else empty), and the figures; with `warm_up` the mean of what is left of
        each sample, too."""
        rows = [{name: value for name, value in row.items() if not _is_sample(value)} for row in self.rows]
        if self.experiment.warm_up is not None:
            for row, given in zip(rows, self.rows, strict=True):
                for name in (name for name, value in given.items() if _is_sample(value)):
                    rest = self._without_warm_up(given, name)
                    row[name] = math.fsum(rest) / len(rest) if rest else math.nan
        return pd.DataFrame(rows)

    @cached_property
    def warm_ups(self) -> pd.DataFrame:
        """Where the warm-up of each sample ends: one row per point and sample with point, the values of the design, sample,
        values (how many at the start are left out of every replication), length (of the shortest replication that has a value;
        moments without a value count), is_short (the series ends too early to tell: run for longer). No row without `warm_up`."""
        rows = []
        for (number, name), found in self._warm_ups.items():
            lengths = [len(each) for each in self._samples(number, name) if not all(map(math.isnan, each))]
            about = {"sample": name, **found._asdict(), "length": min(lengths, default=0)}
            rows.append({"point": number, **named(self.experiment.points[number]), **about})
        columns = ["point", *self.experiment.paths, "sample", "values", "length", "is_short"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def figures(self) -> list[str]:
        """The numeric columns of `runs`."""
        paths = set(self.experiment.paths)
        return [str(c) for c in self.runs.columns if c not in ABOUT and c not in paths and is_number(self.runs[c])]

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row per point and figure: point, the values of the design, figure, unit, mean, low, high (t interval with the
        experiment's confidence), n (replications with a value), missing (replications without)."""
        rows = []
        for number, point in enumerate(self.experiment.points):
            mine = self.runs[self.runs["point"] == number]
            for figure in self.figures:
                values = mine[figure].astype(float)
                interval = statistics.t_interval(values.tolist(), self.experiment.asked_confidence)
                about = {"figure": figure, "unit": unit_of(figure), **interval._asdict(), "missing": int(values.isna().sum())}
                rows.append({"point": number, **named(point), **about})
        columns = ["point", *self.experiment.paths, "figure", "unit", "mean", "low", "high", "n", "missing"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def failures(self) -> pd.DataFrame:
        """The runs that failed, with their errors."""
        return self.runs[self.runs["error"] != ""]

    @property
    def metadata(self) -> dict[str, Any]:
        """What was run: scenario and its digest, seed, replications, points, figures with units, version."""
        scenario = self.experiment.scenarios[0]
        return {
            "scenario": self.experiment.scenario.name,
            "digest": self.experiment.scenario.digest(),
            "seed": scenario.seed,
            "replications": self.experiment.replications,
            "scale": self.experiment.scale,
            "warm_up": self.experiment.warm_up,
            "confidence": self.experiment.asked_confidence,
            "points": len(self.experiment.points),
            "figures": {figure: unit_of(figure) for figure in self.figures},
            "version": program_version(),
        }

    def values(self, figure: str) -> dict[str, list[float]]:
        """The values of a figure at each point, by replication. Raises ConfigError for an unknown figure."""
        if figure not in self.figures:
            failed = self.failures["error"].tolist()
            why = f"; {len(failed)} of {len(self.runs)} runs failed, the first with {failed[0]}" if failed else ""
            raise ConfigError(f"there is no figure {figure!r}; there are: {', '.join(self.figures) or 'none'}{why}")
        table = self.runs.sort_values("replication", kind="stable")
        return {
            describe(point) or "as it is": table[table["point"] == number][figure].astype(float).tolist()
            for number, point in enumerate(self.experiment.points)
        }

    def pairs(self, figure: str, confidence: float | None = None) -> pd.DataFrame:
        """All pairs of points compared on common random numbers (`statistics.all_pairs`). Replications that only one of two has
        are left out."""
        values = self.values(figure)
        longest = max(len(each) for each in values.values())
        padded = {name: each + [math.nan] * (longest - len(each)) for name, each in values.items()}
        return statistics.all_pairs(padded, self._confidence(confidence))

    def quantile(self, sample: str, fraction: float, confidence: float | None = None) -> pd.DataFrame:
        """A quantile of a sample (a figure that gives an array), pooled over all replications, with a bootstrap interval over
        replications: one row per point with mean (the pooled quantile), low, high, n. Without the warm-up, if the experiment
        leaves it out. Raises ConfigError."""
        rows = []
        for number, point in enumerate(self.experiment.points):
            mine = (row for row in self.rows if row["point"] == number and _is_sample(row.get(sample)))
            samples = [self._without_warm_up(row, sample) for row in mine]
            if not samples:
                raise ConfigError(
                    f"no sample {sample!r} at point {number}; a sample is a function of a Result that gives an array"
                )
            interval = statistics.quantile_interval(samples, fraction, self._confidence(confidence))
            rows.append({"point": number, **named(point), "fraction": fraction, **interval._asdict()})
        return pd.DataFrame(rows)

    def interval(self, figure: str, point: int = 0, confidence: float | None = None) -> Interval:
        """The mean of a figure at one point, with its t interval."""
        mine = self.runs[self.runs["point"] == point]
        return statistics.t_interval(mine[figure].astype(float).tolist(), self._confidence(confidence))

    def write(self, folder: str | Path) -> list[Path]:
        """Write runs.parquet, points.parquet and metadata.json; equal outcomes give equal bytes. Raises ConfigError."""
        from simulation.results.frames import write_parquet

        place = Path(folder)
        paths = [place / "runs.parquet", place / "points.parquet", place / "metadata.json"]
        try:
            place.mkdir(parents=True, exist_ok=True)
            about = {f"steadywire.{name}": json.dumps(value) for name, value in self.metadata.items()}
            write_parquet(self.runs, paths[0], about)
            write_parquet(self.points, paths[1], about)
            paths[2].write_text(json.dumps(self.metadata, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write to {place}: {error.strerror or error}") from None
        return paths

    def _confidence(self, given: float | None) -> float:
        return self.experiment.asked_confidence if given is None else given

    def _samples(self, number: int, name: str) -> list[list[float]]:
        """A sample of each replication of a point, with its NaNs."""
        return [_floats(row[name]) for row in self.rows if row["point"] == number and _is_sample(row.get(name))]

    @cached_property
    def _warm_ups(self) -> dict[tuple[int, str], statistics.WarmUp]:
        """By point and sample; empty if no warm-up is left out."""
        if self.experiment.warm_up is None:
            return {}
        known = {(row["point"], name) for row in self.rows for name, value in row.items() if _is_sample(value)}
        return {key: statistics.common_warm_up(self._samples(*key)) for key in sorted(known)}

    def _without_warm_up(self, row: Row, name: str) -> list[float]:
        """The values of a run's sample, without NaNs, and without those of the warm-up if that is left out."""
        found = self._warm_ups.get((row["point"], name))
        rest = _floats(row[name])[0 if found is None else found.values :]
        return [each for each in rest if not math.isnan(each)]

    def _more_needed(self, counts: Sequence[int]) -> list[int]:
        """How many replications each point needs by the rule; the same numbers if it is satisfied."""
        until = self.experiment.until
        if until is None:
            return list(counts)
        more = []
        for number, count in enumerate(counts):
            interval = self.interval(until.figure, number, self.experiment.rule_confidence)
            wanted = until.half_width * (abs(interval.mean) if until.relative else 1.0)
            if not interval.half_width > wanted or count >= until.replications_max:
                more.append(count)
                continue
            mine = self.runs[self.runs["point"] == number][until.figure].astype(float)
            confidence = self.experiment.rule_confidence
            needed = statistics.runs_needed(mine.tolist(), wanted, confidence) if wanted > 0 else until.replications_max
            more.append(min(until.replications_max, max(needed, count + max(1, count // 4))))
        return more


def run_task(task: Task) -> Row:
    """One run, in any process: its digests, violated guarantees and figures; an error in place of an exception."""
    scenario, digest = _parsed(task.scenario)
    row: Row = {"seed": scenario.seed, "replication": task.replication, "scenario": digest}
    try:
        result = World(scenario, task.replication).run()
        figures, scale = pickle.loads(task.figures)
        return row | {
            "trace": result.trace.digest(),
            "violated": ", ".join(name for name, verdict in result.verdicts.items() if verdict.violated),
            "error": "",
            **figures_of(result, figures, scale),
        }
    except Exception as error:  # any exception of one run is recorded in its row
        return row | {"trace": "", "violated": "", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]}


@lru_cache(maxsize=8)
def _parsed(text: str) -> tuple[Scenario, str]:
    """A scenario and its digest, computed once for all replications of a point."""
    scenario = parse_scenario(text)
    return scenario, scenario.digest()


def figures_of(result: Result, figures: Sequence[Figure], scale: float = 1.0) -> Row:
    """The figures of one run by name. `scale`: of its world. Raises ConfigError for an unknown column."""
    row: Row = {}
    summary: Row = {}
    frames = Frames(result.trace_index, scale)
    if not figures or any(isinstance(figure, str) and figure not in DERIVED for figure in figures):
        summary = {str(name): value for name, value in frames["summary"].iloc[0].items()}
    if not figures:
        return summary
    for figure in figures:
        if isinstance(figure, str):
            row[figure] = DERIVED[figure](result, frames) if figure in DERIVED else summary[figure]
            continue
        value = figure(result)
        if isinstance(value, Mapping):
            row |= {str(name): float(number) for name, number in value.items()}
        elif isinstance(value, int | float | np.generic):
            row[name_of(figure)] = float(value)
        else:
            row[name_of(figure)] = np.asarray(value, dtype=float).tolist()
    return row


def check_figures(figures: Iterable[Figure]) -> None:
    """Raise ConfigError for a name that is no figure."""
    for name in (figure for figure in figures if isinstance(figure, str)):
        known = (*summary_columns(), *DERIVED)
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"there is no figure {name!r}; {advice}")


@cache
def summary_columns() -> tuple[str, ...]:
    """The columns of every summary, from a run of a nearly empty world."""
    still = Scenario(name="columns", groups=(Group(name="client", clients=1),), horizon_s=0.1, settle_s=0.0)
    return tuple(map(str, Frames(World(still).run().trace_index)["summary"].columns))


def name_of(figure: Figure) -> str:
    """A column's name, or the function's."""
    return figure if isinstance(figure, str) else getattr(figure, "__name__", type(figure).__name__)


def unit_of(figure: str) -> str:
    """The unit that a column's name ends in; of alerts the number is counted, whatever the unit of their measure."""
    if figure.startswith("alerts_"):
        return ""
    for ending, unit in (
        ("_per_s", "1/s"),
        ("_per_s_max", "1/s"),
        ("_s_per_client_hour", "s/h"),
        ("_hour", "1/h"),
        ("_s", "s"),
        ("_ms", "ms"),
        ("_bytes", "bytes"),
        ("_share", "1"),
        ("_rate", "1"),
    ):
        if figure.endswith(ending):
            return unit
    return ""


def named(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as columns: numbers, words and booleans as they are, parts as JSON."""
    return {
        path: value if isinstance(value, bool | int | float | str) or value is None else _json(value)
        for path, value in point.items()
    }


def describe(point: Mapping[str, Any]) -> str:
    """A point in one line."""
    return ", ".join(
        f"{path}={value:g}" if isinstance(value, float) else f"{path}={value}" for path, value in named(point).items()
    )


def is_number(column: "pd.Series[Any]") -> bool:
    """Whether a column holds numbers only."""
    return bool(pd.api.types.is_numeric_dtype(column) or column.map(lambda value: isinstance(value, int | float)).all())


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value), sort_keys=True)


def _is_sample(value: Any) -> bool:
    return isinstance(value, list | np.ndarray)


def _floats(value: Any) -> list[float]:
    return [float(each) for each in value]
