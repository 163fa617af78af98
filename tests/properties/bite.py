"""Proof that the properties bite: `python -m tests.properties.bite` puts each bug of `bugs` into the product and searches for it.

    python -m tests.properties.bite                     the table, as Markdown
    python -m tests.properties.bite --into FILE         and into FILE, between its marks
    python -m tests.properties.bite outbox              only bugs whose name or place has the word
    python -m tests.properties.bite --kept KEPT         write each result to KEPT at once, and go on after those that are there
    python -m tests.properties.bite --kept KEPT --seconds 600      begin no search after ten minutes
    python -m tests.properties.bite --examples 500 --shrink 1      give a bug up after 500 examples, shrink what is found for 1 s

All bugs take about an hour; with `--kept` they can be done in pieces. The bugs that need whole worlds come last. Results in KEPT
belong to the code that they were found with: begin a new file after a change to the product or to a property.

Examples are drawn as the tests draw them, the same in every run, up to the first that shows the bug; that one is shrunk for as
long as `SHRINK_S`. No kept case takes part: a bug has to be found, not to be known. A test that draws nothing is one example.
"""

import argparse
import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky

from simulation.adversary.case import Case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.scenario.scenario import Scenario
from simulation.testing import schedules, setups
from tests.fuzz import test_front_door
from tests.infra import test_files
from tests.parity import test_drawn
from tests.properties import test_g13_tail, test_shells, test_single_clauses, test_small_machines
from tests.properties.bugs import BUGS, Bug, applied
from tests.protocol import test_fan_out, test_inbox, test_outbox, test_presence, test_sequencer

EXAMPLES_MAX = 2000
FAST_EXAMPLES = 35
"""As many examples as each test has in the profile `fast`."""
SHRINK_S = 3.0
BEGIN, END = "<!-- the catalogue begins -->", "<!-- the catalogue ends -->"
SINGLE_MACHINES: dict[str, Any] = {
    "outbox": test_outbox.test_the_outbox_behaves_like_the_model,
    "inbox": test_inbox.test_events_are_handed_over_in_order_each_once,
    "fan out": test_fan_out.test_each_reader_is_given_everything_in_order_once,
    "sequencer": test_sequencer.test_every_publish_is_numbered_once_and_all_its_copies_get_one_answer,
    "presence": test_presence.test_every_roster_agrees_with_the_attendance_once_it_was_sent,
    "backoff": test_small_machines.test_g10_manners_no_two_clients_come_back_together,
    "keepalive": test_small_machines.test_round_trips_are_measured_by_one_clock,
    "health": test_small_machines.test_health_is_what_the_brief_says,
    "codec": test_small_machines.test_g7_bounds_a_frame_is_measured_in_bytes,
    "store": test_small_machines.test_g11_durability_a_store_gives_back_what_it_took,
    "place": test_small_machines.test_g2_no_silence_at_any_position_of_a_reader,
}
"""The tests of one machine without a world around it."""
SINGLE_CLAUSES: dict[str, Any] = {
    "order of answers": test_single_clauses.test_answers_leave_in_the_order_in_which_publishes_were_taken,
    "state": test_single_clauses.test_the_state_of_a_run_stays_within_its_limits,
    "long poll": test_single_clauses.test_a_poll_waits_for_events_and_for_nothing_else,
    "token": test_single_clauses.test_a_token_is_warned_of_and_ends_with_its_grace,
    "silence": test_single_clauses.test_a_client_is_closed_for_silence_and_only_for_silence,
    "frame rate": test_single_clauses.test_a_connection_sends_as_many_frames_as_its_rate_allows,
    "connections": test_single_clauses.test_a_run_keeps_the_limit_of_its_connections,
    "sessions": test_single_clauses.test_the_newest_generation_owns_the_session,
    "room for cursors": test_single_clauses.test_cursors_keep_their_limit_and_all_readers_are_shown_the_same,
    "acks": test_single_clauses.test_every_event_is_acknowledged_in_time,
    "cursors": test_single_clauses.test_cursors_leave_at_their_interval_and_the_last_one_always,
    "pings": test_single_clauses.test_a_client_pings_more_often_than_the_server_allows_silence,
    "attempts": test_single_clauses.test_an_attempt_has_a_time_to_open_and_the_same_again_to_be_welcomed,
    "retries": test_single_clauses.test_the_wait_after_a_rejection_doubles_with_each,
    "reasons": test_single_clauses.test_a_reason_is_reported_once_until_something_carries_the_session,
    "probes": test_single_clauses.test_probes_grow_rare_until_one_is_steady,
    "reports": test_single_clauses.test_every_count_is_reported_and_none_is_acknowledged_twice,
}
"""The tests of clauses that no guarantee covers."""


@dataclass
class Catch:
    """A bug, the test that caught it, after how many examples, the test's message, and the smallest example found."""

    bug: Bug
    test: str = ""
    examples: int = 0
    said: str = ""
    case: str = ""


class Caught(Exception):
    """An example has shown the bug: `test` by name, in the test's own words."""

    def __init__(self, test: str, said: str) -> None:
        super().__init__(test, said)
        self.test, self.said = test, said


def over_the_link(setup: Setup, schedule: list[Any]) -> None:
    """Every guarantee over the adversarial link; the one that breaks names the test."""
    try:
        broken = play(setup, schedule)
    except Exception as error:  # an assertion of a machine, of the store's model, of the driver: every test fails by it
        raise Caught("every test_guarantee", f"{type(error).__name__}: {error}") from None
    if broken:
        raise Caught(f"test_guarantee[{broken[0].guarantee}]", f"{broken[0].guarantee}: {broken[0].what}")


Net = tuple[str, dict[str, Any], Callable[..., None]]


def _net(test: Any) -> Net:
    return test.__name__, test.hypothesis._given_kwargs, test.hypothesis.inner_test


def _nets() -> dict[str, Net]:
    return {
        "link": ("", {"setup": setups(), "schedule": schedules()}, over_the_link),
        "long": _net(test_small_machines.test_g7_bounds_of_a_client_that_publishes_all_day),
        "polling": _net(test_small_machines.test_g6_recovery_polling_carries_publishes_too),
        "parity": ("test_drawn_faults_on_websockets", *_net(test_drawn.test_drawn_faults_on_websockets)[1:]),
        "fallback": _net(test_drawn.test_drawn_faults_on_clients_that_fall_back),
        "tail": _net(test_g13_tail.test_g13_tail),
        "slow reader": _net(test_shells.test_g1_order_for_a_slow_reader),
        "bad disk": _net(test_shells.test_g3_once_on_a_bad_disk),
        "deaf reader": _net(test_shells.test_g7_bounds_a_reader_that_never_reads_is_cut),
        "busy reader": _net(test_shells.test_g1_order_behind_answers_that_are_not_taken),
        "half closed": _net(test_shells.test_g6_recovery_from_a_connection_that_is_half_closed),
        "never": _net(test_shells.test_g10_a_code_that_forbids_reconnecting_reaches_the_session),
        "alerts": ("test_alerts_are_over_metrics_that_there_are", {}, test_files.test_alerts_are_over_metrics_that_there_are),
        "wire": _net(test_front_door.test_the_user_is_the_tokens_whatever_the_headers_say),
        **{name: _net(test) for name, test in (SINGLE_MACHINES | SINGLE_CLAUSES).items()},
    }


def hunt(bug: Bug, *, examples_max: int = EXAMPLES_MAX, shrink_s: float = SHRINK_S) -> Catch:
    """Put the bug in, and look for it. `Catch.examples` 0: not caught."""
    name, strategies, body = _nets()[bug.net]
    catch = Catch(bug)
    examples, caught_at = 0, 0.0

    def example(**drawn: Any) -> None:
        nonlocal examples, caught_at
        if catch.examples and time.monotonic() - caught_at > shrink_s:
            return  # small enough; Hypothesis finds that odd, which is caught below
        examples += 1
        try:
            body(**drawn)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            if not catch.examples:
                catch.examples, caught_at = examples, time.monotonic()
            catch.test, catch.said = (error.test, error.said) if isinstance(error, Caught) else (name, _first_line(error))
            catch.case = _words_of(drawn)
            raise AssertionError("caught") from None

    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink_s else [])]
    search = settings(
        max_examples=examples_max,
        phases=phases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    with applied(bug), contextlib.suppress(AssertionError, Flaky, BaseExceptionGroup):
        search(given(**strategies)(example))() if strategies else example()
    return catch


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _words_of(drawn: dict[str, Any]) -> str:
    """An example in few words: the steps of a schedule, the faults of a scenario, or the values."""
    if "setup" in drawn:
        text = Case(name="shrunk", setup=drawn["setup"], schedule=tuple(drawn["schedule"])).to_toml()
        return ", ".join(re.findall(r'^  "(.*)",$', text, re.MULTILINE)) or "no step"
    values = {
        key: f"seed {value.seed}, faults {list(value.faults)}" if isinstance(value, Scenario) else value
        for key, value in drawn.items()
    }
    return ", ".join(f"{key} = {value}" for key, value in values.items())


def table_of(catches: list[Catch]) -> str:
    """The catalogue as a Markdown table; * marks the faults of the design before this one."""
    rows = ["| bug | where | caught by | examples | it said | shrunk to |", "|---|---|---|---|---|---|"]
    for catch in catches:
        mark = " *" if catch.bug.design else ""
        cells = [f"{catch.bug.name}{mark}", f"`{catch.bug.where}`", f"`{catch.test}`" if catch.examples else "**not caught**"]
        cells += [str(catch.examples), _cell(catch.said, 110), f"{_cell(catch.case, 200)}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(text: str, characters_max: int) -> str:
    plain = " ".join(text.split()).replace("|", "/").replace("<", "&lt;").replace("*", "&#42;")
    return plain if len(plain) <= characters_max else f"{plain[: characters_max - 1]}…"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Put each bug of the catalogue into the product and search for it.")
    parser.add_argument("word", nargs="?", default="", help="only bugs whose name or place has this word")
    parser.add_argument("--into", type=Path, help="write the table into this file, between its marks")
    parser.add_argument("--kept", type=Path, help="write each result to this file at once, and go on after those that are there")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no search after this time")
    parser.add_argument("--examples", type=int, default=EXAMPLES_MAX, help="give a bug up after so many examples")
    parser.add_argument("--shrink", type=float, default=SHRINK_S, help="shrink what is found for so many seconds")
    chosen = parser.parse_args(arguments)
    bugs = [bug for bug in BUGS if chosen.word in bug.name or chosen.word in bug.where]
    catches = {} if chosen.kept is None else kept_in(chosen.kept)
    until = time.monotonic() + chosen.seconds
    for bug in sorted(bugs, key=lambda bug: bug.net == "link"):
        if bug not in catches and time.monotonic() < until:
            last = catches[bug] = hunt(bug, examples_max=chosen.examples, shrink_s=chosen.shrink)
            print(f"{'caught' if last.examples else 'NOT CAUGHT':>10} {last.examples:5}  {bug.name}: {last.said}", flush=True)
            if chosen.kept is not None:
                with chosen.kept.open("ab") as file:
                    file.write(line_of(last))
    found = [catches[bug] for bug in bugs if bug in catches]
    caught = sum(catch.examples > 0 for catch in found)
    summary = f"{caught} of {len(found)} caught; * is a fault of the design before this one."
    if chosen.into is not None and len(found) == len(BUGS):
        text = chosen.into.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        chosen.into.write_text(f"{before}{BEGIN}\n\n{summary}\n\n{table_of(found)}\n\n{END}{after}", encoding="utf-8")
    elif chosen.into is not None:
        parser.exit(1, f"{summary} {len(BUGS) - len(found)} bugs have no result yet: {chosen.into} stays as it is.\n")
    print(summary)


def line_of(catch: Catch) -> bytes:
    """One line in the file of `--kept`."""
    return msgspec.json.encode(asdict(catch)) + b"\n"


def kept_in(path: Path) -> dict[Bug, Catch]:
    """The results in the file of `--kept`; a bug that has changed since is another bug."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    catches = [msgspec.json.decode(line, type=Catch) for line in lines]
    return {catch.bug: catch for catch in catches}


if __name__ == "__main__":
    main()
