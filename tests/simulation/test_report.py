"""The figures and the report of a run: which figures there are, and the contents of the page."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from simulation import Frames, Group, Outage, Scenario, Workload, run
from simulation import Path as NetworkPath
from simulation.cli.simulate import simulate
from simulation.results.frames import OF_TRACE
from simulation.results.report import report_of
from simulation.results.scenario_figures import figures_of, outbox, outbox_peaks, storm, timeline, worst_client
from simulation.scenario.faults import LoadBalancerCut, Reset
from simulation.world import Result

TALK = Workload(graft_per_s=1.0)


def scenario_of(**fields: object) -> Scenario:
    return Scenario(version=1, name="report", horizon_s=20, settle_s=10, workload=TALK, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def elevator() -> Result:
    groups = (Group(name="desk", clients=2), Group(name="tablet", path=NetworkPath(latency_s=0.05)))
    outage = Outage(at_s=5, duration_s=8, clients=("tablet",))
    return run(scenario_of(groups=groups, faults=(outage,), about='<b>"Tom & Jerry"</b>'))


@pytest.fixture(scope="module")
def cut() -> Result:
    return run(scenario_of(groups=(Group(name="c", clients=8),), faults=(LoadBalancerCut(at_s=5, duration_s=1),)))


def names_of(result: Result) -> list[str]:
    groups = tuple(group.name for group in result.scenario.groups)
    return [drawn.name for drawn in figures_of(Frames(result.trace_index), "title", groups)]


def test_each_run_gets_the_figures_that_fit(elevator: Result, cut: Result) -> None:
    assert names_of(elevator) == ["outbox", "groups", "latency_and_delivery", "worst_client"]
    assert names_of(cut)[0] == "storm"
    assert "groups" not in names_of(cut)


def test_the_worst_client_is_the_one_that_was_away(elevator: Result) -> None:
    frames = Frames(elevator.trace_index)
    assert worst_client(frames) == "tablet-0"
    assert outbox_peaks(frames).index[0] == "tablet-0"
    carried = timeline(frames, "tablet-0", "title").axes[0]
    labels = [text.get_text() for text in carried.get_legend().get_texts()]
    assert {"WebSocket", "none", "attempt welcomed"} <= set(labels)


def test_the_storm_counts_what_the_trace_holds(cut: Result) -> None:
    frames = Frames(cut.trace_index)
    drawn = next(iter(figures_of(frames, "title", ("c",)))).figure
    waiting = drawn.axes[1].lines[0].get_ydata()
    attempts = frames["attempts"]
    at_once = max(
        sum(begun <= at < min(ends) for begun, *ends in attempts[["attempted_s", "welcomed_s", "ended_s"]].fillna(1e9).to_numpy())
        for at in attempts["attempted_s"]
    )
    assert max(waiting) == at_once >= 2


def test_the_storm_shows_the_peak_that_its_title_names(cut: Result) -> None:
    """The busiest second may begin at any time, and the steps are whole seconds: without a line of its own it is nowhere."""
    frames = Frames(cut.trace_index)
    figure = storm(frames, "title")
    peak = int(frames["summary"]["attempts_per_s_max"].iloc[0])
    rate = figure.axes[0]
    assert [list(line.get_ydata()) for line in rate.lines] == [[peak, peak]]
    assert rate.get_ylim()[1] > peak
    assert f"at most {peak} attempts within one second" in figure.get_suptitle()


def test_a_queue_is_drawn_from_zero_at_the_start_to_the_end_of_its_axis(elevator: Result) -> None:
    frames = Frames(elevator.trace_index)
    for axes in (timeline(frames, "tablet-0", "title").axes[1], outbox(frames, "title").axes[0]):
        times, lengths = axes.lines[0].get_data()
        assert (times[0], lengths[0]) == (0, 0)
        assert times[-1] == axes.get_xlim()[1]
        assert max(lengths) == outbox_peaks(frames).max()


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_is_one_file_without_scripts_and_with_every_string_escaped(elevator: Result) -> None:
    frames = Frames(elevator.trace_index)
    drawn = [(each, b"png") for each in figures_of(frames, "title", ("desk", "tablet"))]
    page = Page(report_of(elevator.scenario, elevator.verdicts, frames, drawn, 1))
    assert '<b>"Tom & Jerry"</b>' in page.text
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "b"}
    loads = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href") if attributes.get(name)]
    assert loads
    assert all(load is not None and load.startswith("data:image/png;base64,") for load in loads)
    assert all(f"{guarantee}" in page.text for guarantee in elevator.verdicts)
    assert "What happened to tablet-0" in page.text
    assert "the access link is down for 8.0 s" in page.text
    assert "tries websocket" in page.text
    assert "interruptions that ended, p99 (s)" in page.text


def test_simulate_writes_the_report_and_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").write_text(scenario_of(groups=(Group(name="c", clients=2),)).to_toml())
    assert simulate(tmp_path / "x.toml", None, tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.html").read_text()
    figures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert figures == {"latency_and_delivery", "worst_client"}
    assert len(re.findall("<img ", text)) == len(figures)
    assert "report.html" in capsys.readouterr().out


def test_a_fault_that_lasts_no_time_can_be_seen() -> None:
    reset = run(scenario_of(groups=(Group(name="c", clients=2),), faults=(Reset(at_s=5),)))
    axes = timeline(Frames(reset.trace_index), "c-0", "title").axes[0]
    (shaded,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    start_s, end_s = axes.get_xlim()
    assert shaded.get_width() == pytest.approx((end_s - start_s) / 600)


def test_the_groups_use_the_frames_that_are_built(elevator: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = Frames(elevator.trace_index)
    messages = frames["messages"]
    monkeypatch.setitem(OF_TRACE, "messages", lambda _: pytest.fail("built twice"))
    assert list(frames["groups"]["group"]) == ["desk", "tablet"]
    assert frames["messages"] is messages
