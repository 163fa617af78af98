"""The summary at the end: the faults, the counts, and each guarantee with its sentence."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from simulation.processes.demo.parameters import CLIENT, POLICY, SERVER
from simulation.processes.demo.report import WITHOUT_FAULTS, DemoReport, Judgement
from simulation.processes.run_plan import Plan
from simulation.scenario.faults import Fault

VIOLATIONS_SHOWN = 5
DELAY_MS_MAX = 250.0
"""Above this delay the summary says that the machine is too slow."""

_NOUNS = {
    "reset": ("reset", "resets"),
    "half_open": ("half-open connection", "half-open connections"),
    "outage": ("outage", "outages"),
    "stall": ("stall", "stalls"),
    "refuse": ("refusal of new connections", "refusals of new connections"),
    "block_upgrade": ("ban on WebSocket", "bans on WebSocket"),
    "server_restart": ("hard kill of the server", "hard kills of the server"),
}
_MARKS = {"held": ("ok", "green"), "violated": ("NOT held", "bold red"), "not exercised": ("not exercised", "yellow")}


def print_beginning(plan: Plan, console: Console) -> None:
    """Print the plan and its parameters."""
    faults = f"{len(plan.faults)} faults planned" if plan.faults else "no faults"
    print_line(
        console, f"steadywire demo: {len(plan.clients)} clients, {plan.seconds:g} s of work, seed {plan.seed}, {faults}", "bold"
    )
    client, server, retry = CLIENT, SERVER, POLICY
    print_line(
        console,
        "Times are shorter than the defaults, so that all of this fits into seconds: "
        f"connect within {client.connect_timeout_s:g} s, ping every {client.ping_interval_s:g} s, dead after "
        f"{client.ping_timeout_s:g} s without an answer; retry after {retry.floor_s:g} s + U(0, min({retry.cap_s:g} s, "
        f"{retry.base_s:g} s * {retry.factor:g}^k)), after {client.fallback_after_failures} failures poll every "
        f"{client.poll_interval_s:g} s and probe WebSocket, first after {client.probe_interval_s:g} s; heartbeat every "
        f"{server.heartbeat_interval_s:g} s, presence kept for {server.presence_grace_s:g} s.",
    )
    print_line(console, "")


def print_summary(report: DemoReport, console: Console) -> None:
    """Print what happened, and whether each guarantee held."""
    print_line(console, "")
    print_line(console, f"The network: {_faults_of(report.schedule)}.")
    print_line(
        console,
        f"The clients: {report.clients}; {report.reconnections} reconnections, {report.fallbacks} fallbacks to HTTP polling, "
        f"{report.returns_to_websocket} returns to WebSocket; {report.server_restarts} restarts of the server.",
    )
    print_line(
        console,
        f"The events: {report.published} published, {report.accepted} accepted, {report.failed} failed; "
        f"{report.delivered} delivered, {report.duplicates} twice, {report.gaps} gaps, {report.out_of_order} out of order, "
        f"{report.lost} lost.",
    )
    print_line(console, f"The times: {_times(report)}.")
    print_line(console, "")
    for name, verdict in report.verdicts.items():
        _print_guarantee(console, name, verdict, has_faults=bool(report.schedule))
    print_line(console, "")
    if report.passed:
        exercised = [verdict for verdict in report.verdicts.values() if verdict.status == "held"]
        print_line(console, f"All {len(exercised)} guarantees that this run exercised held.", "bold green")
    for shortcoming in report.shortcomings:
        print_line(console, shortcoming, "bold red")
    delay = report.process_delay_ms
    if delay.p95 is not None and delay.p95 > DELAY_MS_MAX:
        print_line(
            console,
            f"This machine could not keep up: 5 % of the demo's own timed actions were more than {delay.p95:.0f} ms late. "
            "Use fewer --clients, or close other programs.",
            "yellow",
        )


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print one line. A terminal wraps it at its width; any other output gets it unwrapped, so that it can be searched."""
    console.print(Text(line, style=style), soft_wrap=not console.is_terminal, highlight=False)


def _print_guarantee(console: Console, name: str, verdict: Judgement, *, has_faults: bool) -> None:
    mark, style = _MARKS[verdict.status]
    is_excused = verdict.status == "not exercised" and not has_faults and name in WITHOUT_FAULTS
    sentence = f"{verdict.sentence} ({WITHOUT_FAULTS[name]})" if is_excused else verdict.sentence
    if console.is_terminal:
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(Text(f"{name:>4}"), Text(f"{mark:<13}", style=style), Text(sentence))
        console.print(row)
    else:
        print_line(console, f"{name:>4}  {mark:<13}  {sentence}")
    for violation in verdict.violations[:VIOLATIONS_SHOWN]:
        print_line(console, f"      {violation}", "red")
    if verdict.violated > VIOLATIONS_SHOWN:
        print_line(console, f"      ... and {verdict.violated - VIOLATIONS_SHOWN} more", "red")


def _faults_of(schedule: tuple[Fault, ...]) -> str:
    if not schedule:
        return "no faults"
    counted = Counter(str(type(fault).__struct_config__.tag) for fault in schedule)
    return ", ".join(f"{counted[tag]} {nouns[counted[tag] > 1]}" for tag, nouns in _NOUNS.items() if counted[tag])


def _times(report: DemoReport) -> str:
    trips, recovery = report.round_trip_ms, report.recovery_s
    parts = []
    if trips.p50 is not None:
        parts.append(f"round trip p50 {trips.p50:.0f}, p95 {trips.p95:.0f}, p99 {trips.p99:.0f} ms")
    if recovery.p50 is not None:
        parts.append(f"clients cut off for p50 {recovery.p50:.1f}, p99 {recovery.p99:.1f} s")
    if report.settled_s is not None:
        parts.append(
            f"settled {report.settled_s:.1f} s after the work, {report.parameters.recovery_bound_s:.1f} s allowed for recovery"
        )
    return "; ".join(parts) or "none measured"
