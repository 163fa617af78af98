"""The report of one simulated run: an HTML page in one file.

It has the scenario, the guarantees, the figures that fit (`scenario_figures`), the faults, tables by group and by client, and the
history of the client with the longest interruption. Figures are embedded; the page loads nothing and runs no script, and it
follows the reader's light or dark colours (`html`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from simulation.results import html
from simulation.results.columns import rows_of
from simulation.results.frames import Frames
from simulation.results.scenario_figures import Drawn, worst_client
from simulation.scenario.faults import describe
from simulation.scenario.scenario import Scenario

EVENTS_MAX = 200
"""Lines of the worst client's timeline; the others are counted."""
CLIENTS_SHOWN = 20
_SUMMARY = (
    ("clients", "clients"),
    ("published", "publishes"),
    ("accepted", "accepted"),
    ("failed", "failed"),
    ("unsettled", "without an answer at the end"),
    ("messages", "messages owed to readers"),
    ("delivered_share", "share delivered"),
    ("latency_p50_s", "latency p50 (s)"),
    ("latency_p95_s", "latency p95 (s)"),
    ("latency_p99_s", "latency p99 (s)"),
    ("interruption_p50_s", "interruptions that ended, p50 (s)"),
    ("interruption_p99_s", "interruptions that ended, p99 (s)"),
    ("reconnections", "reconnections"),
    ("fallbacks", "fallbacks to HTTP polling"),
    ("attempts_per_s_max", "attempts in the busiest second"),
    ("back_99_s", "99 % of the clients back after the last fault (s)"),
    ("interruption_max_s", "longest interruption (s)"),
    ("fallback_share", "share of time over HTTP polling"),
    ("duplicates", "delivered twice"),
    ("gaps", "gaps"),
    ("out_of_order", "out of order"),
    ("lost", "lost"),
)


class Judged(Protocol):
    """A guarantee for the page: `simulation.checks.verdicts.Verdict`, which results do not import."""

    @property
    def guarantee(self) -> str: ...
    @property
    def sentence(self) -> str: ...
    @property
    def checked(self) -> int: ...
    @property
    def violated(self) -> int: ...
    @property
    def violations(self) -> tuple[str, ...]: ...
    @property
    def status(self) -> str: ...
    @property
    def ok(self) -> bool: ...


def report_of(
    scenario: Scenario, verdicts: Mapping[str, Judged], frames: Frames, drawn: Sequence[tuple[Drawn, bytes]], seed: int
) -> str:
    """The page. `drawn`: the figures, each with its PNG."""
    return html.page(f"{scenario.name}, seed {seed}", _sections(scenario, verdicts, frames, drawn))


def _sections(
    scenario: Scenario, verdicts: Mapping[str, Judged], frames: Frames, drawn: Sequence[tuple[Drawn, bytes]]
) -> Iterable[str]:
    violated = [verdict for verdict in verdicts.values() if verdict.violated]
    if scenario.about:
        yield html.paragraph(" ".join(scenario.about.split()))
    held = sum(verdict.ok for verdict in verdicts.values())
    if violated:
        yield html.paragraph(f"VIOLATED: {', '.join(verdict.guarantee for verdict in violated)}.")
    else:
        yield html.paragraph(f"No guarantee was violated; {held} of {len(verdicts)} were exercised and held.")
    yield html.table(_summary(frames))

    yield html.heading("Figures")
    for figure, png in drawn:
        yield html.image(png, figure.caption)

    yield html.heading("Faults")
    faults = scenario.resolved_faults
    if faults:
        rows = [{"at (s)": fault.at_s, "until (s)": fault.end_s, "what": describe(fault)} for fault in faults]
        yield html.table(pd.DataFrame(rows))
    happened = frames["faults"]
    if len(happened) > len(faults):
        what = "with those that were drawn and what paths did by themselves"
        yield html.paragraph(f"{len(happened)} faults happened, {what}.", note=True)
    elif not faults:
        yield html.paragraph("None.")

    yield html.heading("Guarantees")
    yield html.table(
        pd.DataFrame(
            [
                {"": v.guarantee, "verdict": v.status, "checked": v.checked, "violated": v.violated, "guarantee": v.sentence}
                for v in verdicts.values()
            ]
        ),
        marked=[place for place, verdict in enumerate(verdicts.values()) if verdict.violated],
    )
    for verdict in violated:
        yield html.bullets([f"{verdict.guarantee}: {violation}" for violation in verdict.violations])

    yield html.heading("Groups")
    yield html.table(frames["groups"])
    yield html.heading("Clients that were away the longest")
    yield html.table(_clients(frames))
    if len(frames["alerts"]):
        yield html.heading("Alerts that would have fired")
        yield html.table(frames["alerts"])

    client = worst_client(frames)
    if client is not None:
        yield html.heading(f"What happened to {client}")
        yield html.paragraph("The client that was away the longest, from its own records.", note=True)
        yield from _timeline(frames, client, scenario)
    yield html.heading("The scenario, every parameter")
    yield html.code(scenario.to_toml())


def _summary(frames: Frames) -> pd.DataFrame:
    row = frames["summary"].iloc[0]
    return pd.DataFrame([{"": label, "value": _tidy(row[name])} for name, label in _SUMMARY], dtype=object)


def _tidy(value: object) -> object:
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _clients(frames: Frames) -> pd.DataFrame:
    away = frames["interruptions"].groupby("client")["duration_s"]
    table = pd.DataFrame({"interruptions": away.size(), "longest (s)": away.max(), "all (s)": away.sum()}).reset_index()
    return table.sort_values(["longest (s)", "client"], ascending=[False, True]).head(CLIENTS_SHOWN)


def _timeline(frames: Frames, client: str, scenario: Scenario) -> Iterable[str]:
    happened: list[tuple[float, str]] = []
    for state in _of(frames["states"], client):
        over = {"websocket": ", over WebSocket", "polling": ", over HTTP polling"}.get(state["transport"], "")
        name, lasted_s = state["state"].replace("_", " "), state["end_s"] - state["start_s"]
        happened.append((state["start_s"], f"is {name}{over}, for {lasted_s:.3f} s"))
    for attempt in _of(frames["attempts"], client):
        waited_s, began_s, transport = attempt["waited_s"], attempt["attempted_s"], attempt["transport"]
        waited = "" if pd.isna(waited_s) else f", {waited_s:.3f} s after it was lost"
        outcome = ": no answer until the end"
        if attempt["outcome"] == "welcomed":
            outcome = f": welcomed after {attempt['welcomed_s'] - began_s:.3f} s"
        elif attempt["outcome"] == "failed":
            outcome = f": failed after {attempt['ended_s'] - began_s:.3f} s{_because(attempt['message'])}"
        happened.append((began_s, f"tries {transport}{waited}{outcome}"))
    happened += [(fault.at_s, f"fault: {describe(fault)}") for fault in scenario.resolved_faults if fault.hits(client)]
    happened.sort(key=lambda each: each[0])
    rows = [{"at (s)": f"{at:.3f}", "what": what} for at, what in happened[:EVENTS_MAX]]
    yield html.table(pd.DataFrame(rows, columns=["at (s)", "what"]))
    if len(happened) > EVENTS_MAX:
        yield html.paragraph(f"... and {len(happened) - EVENTS_MAX} more.", note=True)


def _of(frame: pd.DataFrame, client: str) -> list[dict[Any, Any]]:
    return rows_of(frame[frame["client"] == client])


def _because(message: object) -> str:
    return f" ({message})" if isinstance(message, str) and message else ""
