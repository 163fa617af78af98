"""The report of a tuning, for people and programs: figures, one HTML page, and settings files.

report.html       the question, the result and its certainty, figures, the comparison with all presets
client.toml       the client's settings (`reference.client.ClientSettings.load`)
server.toml       the server's settings (`steadywire serve --config`), if any was tuned
scenarios/        each scenario as it is, NAME.toml, and with the chosen setting, NAME-tuned.toml; at full scale
trials.parquet, finalists.parquet, against.parquet
"""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reference.protocol.errors import ConfigError
from simulation.results import html
from simulation.results.figure import BLUE, GREEN, GREY, ORANGE, ShownFigure
from simulation.results.frames import write_parquet
from simulation.scenario.presets import PresetFallback, PresetHeartbeat, PresetPolicy
from simulation.scenario.text import toml_of
from simulation.studies.experiment import describe
from simulation.studies.tuning import presets, scale_check
from simulation.studies.tuning.evaluation import TUNED, Candidate
from simulation.studies.tuning.search import BASELINE, Tuned
from simulation.studies.tuning.selection import Selection

ROW_INCHES = 0.27


def write(tuned: Tuned, folder: Path, *, sensitivity: pd.DataFrame | None = None) -> list[Path]:
    """Write everything; the paths of report.html and of the settings files. Raises ConfigError."""
    try:
        (folder / "scenarios").mkdir(parents=True, exist_ok=True)
        paths = [folder / "report.html"]
        paths[0].write_text(report(tuned, sensitivity), encoding="utf-8")
        write_parquet(_frame(tuned.trials, tuned), folder / "trials.parquet")
        write_parquet(_frame(tuned.finalists + tuned.presets, tuned), folder / "finalists.parquet")
        if tuned.against is not None:
            write_parquet(tuned.against, folder / "against.parquet")
        for name, text in settings(tuned).items():
            paths.append(folder / name)
            paths[-1].write_text(text, encoding="utf-8")
        for name, text in scenarios(tuned).items():
            (folder / "scenarios" / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from None
    return paths


def scenarios(tuned: Tuned) -> dict[str, str]:
    """Each scenario as it is, and with the chosen setting, as files by name: other commands run both."""
    files = {f"{scenario.name}.toml": scenario.to_toml() for scenario in tuned.scenarios}
    if tuned.best is not None and tuned.best.point:
        named = [scenario.replace(name=scenario.name + TUNED) for scenario in tuned.tuned_scenarios]
        files |= {f"{scenario.name}.toml": scenario.to_toml() for scenario in named}
    return files


def settings(tuned: Tuned) -> dict[str, str]:
    """The settings files of the answer, by name; none if there is no answer. Raises ConfigError for a policy that only the
    simulator has."""
    if tuned.best is None:
        return {}
    scenario = tuned.tuned_scenarios[0]
    client: dict[str, Any] = msgspec.to_builtins(scenario.client)
    table = {"config": client["config"], "policy": client["policy"]}
    table |= {name: client[name] for name in ("fallback", "heartbeat") if client.get(name) is not None}
    for name in ("policy", "fallback", "heartbeat"):
        named = getattr(scenario.client, name)
        if isinstance(named, PresetPolicy | PresetFallback | PresetHeartbeat):
            formula = named.formula
            if not isinstance(formula, msgspec.Struct):
                raise ConfigError(f"the {name} {named.preset!r} is code and has no settings that a file could hold")
            table[name] = msgspec.to_builtins(formula)
    chosen = describe(tuned.best.point) or "the scenario as it is"
    about = f"# {tuned.study.name}: found by `steadywire tune`; {chosen}\n\n"
    files = {"client.toml": about + toml_of(table)}
    changed = {path.removeprefix("server.config."): None for path in tuned.best.point if path.startswith("server.config.")}
    if changed:
        config = msgspec.to_builtins(scenario.server.config)
        files["server.toml"] = about + toml_of({"protocol": {name: config[name] for name in changed}})
    return files


def report(tuned: Tuned, sensitivity: pd.DataFrame | None = None) -> str:
    """The page, self-contained."""
    study, asked = tuned.study, tuned.study.tuning
    scenarios = ", ".join(scenario.name for scenario in tuned.scenarios)
    goals = [
        f"{'minimise' if each.goal == 'min' else 'maximise'} {each.figure} (weight {each.weight:g})" for each in asked.objectives
    ]
    sections = [html.paragraph(study.about)] if study.about else []
    sections += [html.heading("Question"), html.paragraph(f"Scenarios: {scenarios}.")]
    sections += [html.bullets([*goals, *(f"keep {constraint}" for constraint in asked.constraint_names)])]
    sections += [html.heading("Answer"), html.bullets(conclusions(tuned))]
    for name, text in settings(tuned).items():
        sections += [html.paragraph(f"{name}:", note=True), html.code(text)]
    if tuned.selection is not None:
        table = tuned.table()
        marked = [place for place, name in enumerate(table["setting"]) if name in (tuned.selection.best, BASELINE)]
        sections += [html.heading("Against everything else, on fresh seeds")]
        caption = "Score of the finalists, of the setting as it is and of every preset; 1 is as good as it is, less is better."
        sections += [html.figure(comparison(tuned), caption), html.table(table, marked=marked)]
    sections += [html.heading("Search"), html.figure(search(tuned), "Every trial of the search, and the best so far.")]
    if len(asked.objectives) > 1:
        sections.append(
            html.figure(pareto(tuned), "Trials in two objectives; the front cannot be improved in one without loss in the other.")
        )
    if tuned.against is not None:
        of_best = tuned.against[tuned.against["setting"] == tuned.best.name] if tuned.best else tuned.against
        sections += [html.heading("Against each preset"), html.table(of_best)]
    if tuned.scales is not None:
        sections += [html.heading("How far the scaled answer is from the full one"), html.table(tuned.scales)]
    if sensitivity is not None:
        sections += [html.heading("What matters"), html.table(sensitivity)]
    sections += [html.heading("Study"), html.code(toml_of(msgspec.to_builtins(study)))]
    return html.page(f"Tuning: {study.name}", sections)


def conclusions(tuned: Tuned) -> list[str]:
    """The conclusions, as sentences."""
    selection, best, asked = tuned.selection, tuned.best, tuned.study.tuning
    if selection is None or best is None:
        if any(trial.is_feasible for trial in tuned.trials):
            kept = " that keeps the constraints" if asked.constraint_names else ""
            why = "in each, something that an objective measures never ended"
            return [f"No setting of {len(tuned.trials)}{kept} has a score: {why}."]
        nearest = min(tuned.trials, key=lambda trial: max(trial.excesses), default=None)
        near = "" if nearest is None else f" The nearest misses by {max(nearest.excesses):.0%} ({describe(nearest.point)})."
        return [f"No setting of {len(tuned.trials)} keeps every constraint.{near}"]
    score = selection.scores[selection.best]
    name = "the setting as it is" if best.name == BASELINE else describe(best.point)
    lines = [
        f"{'Best' if selection.lowest == selection.best else 'Kept'}: {name}.",
        f"Score {score.mean:.3f} [{score.low:.3f}, {score.high:.3f}], where 1 is the setting as it is.",
        f"Best of the finalists with probability {selection.is_best:.0%} ({selection.replications} fresh replications).",
        f"Within {selection.delta:.0%} of the best with probability {selection.is_good:.0%}.",
    ]
    if selection.lowest != selection.best:
        gain = selection.differences[selection.lowest]
        lines.append(
            f"The lowest score is that of {_name(tuned, selection.lowest)}: better by {-gain.mean:.3f} "
            f"[{-gain.high:.3f}, {-gain.low:.3f}], and a change must be better by more than {selection.delta:g}."
        )
    if selection.tied:
        others = "; ".join(_name(tuned, tied) for tied in selection.tied)
        lines.append(f"Not significantly different: {others}.")
    for constraint, excess in zip(asked.constraint_names, best.excesses, strict=True):
        lines.append(f"{constraint}: holds, with {-excess:.0%} to spare in the worst scenario.")
    broken = [preset.name for preset in tuned.presets if not preset.is_feasible]
    if broken:
        lines.append(f"{len(broken)} of {len(tuned.presets)} presets break a constraint: {', '.join(broken)}.")
    if tuned.against is not None:
        lines += presets.sentences(tuned.against, best.name, asked.delta)
        if broken:
            beaten = presets.beaten_by(tuned.against, best.name)
            left = [preset.name for preset in tuned.presets if preset.is_feasible and preset.name not in beaten]
            names = ", ".join(left) or "none"
            lines.append(f"Presets that keep every constraint and are not beaten by the chosen setting: {names}.")
    if tuned.scales is not None:
        lines += scale_check.sentences(tuned.scales, asked, BASELINE)
    better = [preset for preset in tuned.presets if preset.is_feasible and preset.score < best.score]
    if better:
        names = ", ".join(f"{preset.name} ({preset.score:.3f})" for preset in sorted(better, key=lambda preset: preset.score))
        lines.append(f"Presets with a lower score: {names}. Widen the space to reach them.")
    return lines


def comparison(tuned: Tuned) -> Figure:
    """Scores of finalists, baseline and presets, best on top, with intervals where replications were compared."""
    selection: Selection | None = tuned.selection
    candidates = sorted((*tuned.finalists, *tuned.presets), key=lambda each: each.score)
    shown = [each for each in candidates if math.isfinite(each.score)]
    figure = ShownFigure(figsize=(8.5, 1.2 + ROW_INCHES * len(shown)), layout="constrained")
    axes = figure.subplots()
    names = {preset.name for preset in tuned.presets}
    for row, each in enumerate(shown):
        is_preset = each.name in names
        colour = GREY if is_preset else ORANGE if each.name == BASELINE else GREEN
        if selection is not None and each.name == selection.best:
            colour = BLUE
        interval = None if selection is None or is_preset else selection.scores.get(each.name)
        error = None if interval is None or math.isnan(interval.low) else interval.half_width
        style: dict[str, Any] = {"fmt": "s" if is_preset else "o", "ms": 5, "capsize": 2.5, "color": colour}
        axes.errorbar([each.score], [-row], xerr=error, mfc=colour if each.is_feasible else "none", **style)
    axes.set_ylim(0.4 - max(1, len(shown)), 0.6)  # whole marks in the first and last row, however few there are
    axes.set_yticks([-row for row in range(len(shown))], [_label(tuned, each) for each in shown], fontsize=8)
    axes.axvline(1.0, color="black", lw=0.8, ls=":")
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis, (0.2, 0.5, 2, 5, 20, 50))
    axes.set_xlabel("score (1 is the setting as it is; less is better); open marks break a constraint")
    axes.set_title("Tuned setting against everything else, on fresh seeds", loc="left")
    axes.grid(axis="x", which="both", alpha=0.25)
    kinds = (("o", BLUE, "the choice"), ("o", GREEN, "finalist"), ("o", ORANGE, "as it is"), ("s", GREY, "preset"))
    marks = [Line2D([], [], marker=marker, color=colour, ls="", label=name) for marker, colour, name in kinds]
    figure.legend(handles=marks, frameon=False, ncols=4, loc="outside lower center")
    return figure


def search(tuned: Tuned) -> Figure:
    """The score of each trial in order, and the best feasible one so far."""
    figure = ShownFigure(figsize=(8.5, 3.2), layout="constrained")
    axes = figure.subplots()
    best = math.inf
    so_far = []
    for number, trial in enumerate(tuned.trials):
        if trial.is_feasible:
            best = min(best, trial.score)
        so_far.append(best if math.isfinite(best) else np.nan)
        if math.isfinite(trial.score):
            _dot(axes, number, trial.score, trial.is_feasible)
    axes.step(range(len(so_far)), so_far, where="post", color=BLUE, lw=1.5, label="best so far that keeps the constraints")
    axes.plot([], [], "o", ms=4, color=GREEN, label="keeps the constraints")
    axes.plot([], [], "o", ms=4, color=GREY, mfc="none", label="breaks a constraint")
    axes.axhline(1.0, color="black", lw=0.8, ls=":")
    axes.set(xlabel="trial", ylabel="score", yscale="log")
    _plain_numbers(axes.yaxis, (0.2, 0.5, 2, 5))
    axes.set_title("Search: each trial, and the best so far", loc="left")
    axes.grid(alpha=0.25)
    figure.legend(frameon=False, ncols=3, loc="outside lower center")
    return figure


def pareto(tuned: Tuned) -> Figure:
    """The first two objectives of every trial and preset, relative to the setting as it is, and the front of the trials."""
    one, other = tuned.study.tuning.objectives[:2]
    figure = ShownFigure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    for trial in tuned.trials:
        if all(map(math.isfinite, trial.objectives[:2])):
            _dot(axes, trial.objectives[0], trial.objectives[1], trial.is_feasible)
    for preset in tuned.presets:
        if all(map(math.isfinite, preset.objectives[:2])):
            axes.plot(*preset.objectives[:2], "s", ms=4, color=GREY, mfc=GREY if preset.is_feasible else "none")
    line = sorted(trial.objectives[:2] for trial in tuned.front)
    axes.step([x for x, _ in line], [y for _, y in line], where="post", color=BLUE, lw=1.5, label="Pareto front")
    if tuned.presets:
        axes.plot([], [], "s", ms=4, color=GREY, label="preset, on fresh seeds")
    axes.plot(1, 1, "s", color=ORANGE, label="as it is")
    if tuned.best is not None:
        axes.plot(*tuned.best.objectives[:2], "D", color=BLUE, ms=8, label="chosen, on fresh seeds")
    axes.set(xscale="log", yscale="log", xlabel=f"{one.figure} / as it is", ylabel=f"{other.figure} / as it is")
    axes.set_title("No setting of the front is better in both", loc="left")
    axes.grid(which="both", alpha=0.2)
    figure.legend(frameon=False, ncols=2, loc="outside lower center")
    return figure


def _dot(axes: Any, x: float, y: float, is_feasible: bool) -> None:
    """A trial; open if it breaks a constraint."""
    colour = GREEN if is_feasible else GREY
    axes.plot(x, y, "o", ms=4, color=colour, mfc=colour if is_feasible else "none")


def _plain_numbers(axis: Any, minor: tuple[float, ...]) -> None:
    """Numbers in place of powers on a logarithmic axis; `minor`: those of the small ticks that are written."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if value in minor else "")


def _frame(candidates: tuple[Candidate, ...], tuned: Tuned) -> pd.DataFrame:
    """One row per setting and scenario."""
    rows = []
    for each in candidates:
        for scenario, figures in zip(tuned.scenarios, each.figures, strict=True):
            about = {"setting": each.name, "point": describe(each.point), "scenario": scenario.name, "score": each.score}
            rows.append({**about, "is_feasible": each.is_feasible, **{name: float(value) for name, value in figures.items()}})
    return pd.DataFrame(rows)


def _name(tuned: Tuned, name: str) -> str:
    if name == BASELINE:
        return "the setting as it is"
    return next((describe(each.point) for each in tuned.finalists if each.name == name), name)


def _label(tuned: Tuned, each: Candidate) -> str:
    if tuned.selection is not None and each.name == tuned.selection.best and each.name != BASELINE:
        return f"{each.name}, tuned"
    return each.name
