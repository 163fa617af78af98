"""Parameters that are changed, findings that no longer hold, and the charts of notebooks."""

import pickle
from itertools import combinations

import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from reference.protocol.errors import ConfigError
from simulation.results import Frames, ShownFigure, as_points, finding, lines, missed_without_replay, parameters, trade_off
from simulation.results.notebooks import findings
from simulation.results.notebooks.findings import checksum
from simulation.scenario.faults import Outage
from simulation.scenario.scenario import Group, Scenario
from simulation.world import run

VALUES, SMALL = {"seed": 1, "clients": 50}, {"clients": 5}
SHIPPED = checksum(VALUES, SMALL)


def test_shipped_parameters_make_findings_fail() -> None:
    p = parameters(SHIPPED, seed=1, clients=50, ci={"clients": 5})
    assert (p.clients, p["seed"], p.is_shipped) == (50, 1, True)
    assert pickle.loads(pickle.dumps(p)).clients == 50
    with pytest.raises(AssertionError, match="does not hold: one is two"):
        finding(1 == 2, "one is two")


def test_changed_parameters_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    p = parameters(SHIPPED, seed=2, clients=50, ci={"clients": 5})
    assert not p.is_shipped
    assert "Not as shipped: texts and titles speak of the shipped values" in p._repr_html_()
    assert "Full size: a cell may take some minutes" in p._repr_html_()
    assert "Small size" not in p._repr_html_()
    finding(False, "the sun is cold")
    finding(True, "the sun is hot")
    assert capsys.readouterr().out == "Does not hold with these parameters: the sun is cold.\nFound: the sun is hot.\n"


def test_the_small_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(findings.SIZE_VARIABLE, "ci")
    p = parameters(SHIPPED, seed=1, clients=50, ci={"clients": 5})
    assert p.clients == 5
    assert p.is_shipped
    assert "Small size (STEADYWIRE_NOTEBOOKS=ci)" in p._repr_html_()
    assert "Full size" not in p._repr_html_()
    finding(False, "chance is small", needs_full_size=True)
    assert "Does not hold" in capsys.readouterr().out
    with pytest.raises(AssertionError):
        finding(False, "nothing")
    monkeypatch.setenv(findings.SIZE_VARIABLE, "huge")
    with pytest.raises(ConfigError, match="set it to ci"):
        parameters(SHIPPED)


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ci names client"):
        parameters(SHIPPED, clients=1, ci={"client": 2})
    with pytest.raises(AttributeError, match="there are clients"):
        _ = parameters(SHIPPED, clients=1).client
    monkeypatch.setattr(findings, "_current", [])
    with pytest.raises(ConfigError, match="call `parameters` first"):
        finding(True, "anything")


def test_a_figure_shows_itself() -> None:
    figure = ShownFigure(figsize=(4, 2))
    picture, about = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    assert about == {"width": 288, "height": 144}


POINTS = pd.DataFrame(
    [
        {"name": name, "figure": figure, "mean": mean, "low": mean - 1, "high": mean + 1, "missing": missing}
        for name, figure, mean, missing in (("a", "x", 5, 0), ("a", "y", 7, 0), ("b", "x", 5, 1), ("b", "y", 8, 0))
    ]
)


def test_points_side_by_side() -> None:
    table = as_points(POINTS, name="name").set_index("name")
    assert table.loc["a", ["x", "x_low", "y_high"]].tolist() == [5, 4, 8]
    assert table.loc["b", ["x", "x_low"]].isna().all(), "a mean over those replications that have one would flatter it"
    figure = trade_off(
        table.reset_index(), name="name", x="x", y="y", x_label="x (s)", y_label="y (s)", title="t", marked="a", log=()
    )
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"a"}
    assert "b" in figure._supxlabel.get_text()


def test_names_do_not_cover_each_other() -> None:
    rows = [{"name": f"policy number {i}", "x": 1 + 0.01 * i, "y": 1.0} for i in range(8)]
    table = pd.DataFrame([{**row, **{f"{a}_{b}": row[a] for a in "xy" for b in ("low", "high")}} for row in rows])
    figure: Figure = trade_off(table, name="name", x="x", y="y", x_label="x (s)", y_label="y (s)", title="t", log=())
    figure._repr_png_()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_lines_have_intervals_and_theory() -> None:
    table = pd.DataFrame({"x": [1, 2], "mean": [3.0, 4.0], "low": [2.0, 3.0], "high": [4.0, 5.0], "by": ["a", "a"]})
    figure = lines(table, x="x", by="by", x_label="x (s)", y_label="y (s)", title="t", curves={"a": ([1, 2], [3, 4])})
    assert [text.get_text() for text in figure.legends[0].texts] == ["a: theory", "a: simulated"]
    (bars,) = figure.axes[0].collections
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[2.0, 4.0], [3.0, 5.0]]


def test_a_curve_beyond_the_points_has_ticks_of_its_own() -> None:
    table = pd.DataFrame({"x": [5.0], "mean": [3.0], "low": [2.0], "high": [4.0], "by": ["a"]})
    for log in ((), ("x",)):
        figure = lines(
            table, x="x", by="by", x_label="x (s)", y_label="y (s)", title="t", curves={"a": ([1, 60], [3, 4])}, log=log
        )
        low, high = figure.axes[0].get_xlim()
        ticks = [at for at in figure.axes[0].get_xticks() if low <= at <= high]
        assert len(ticks) >= 2, "one labelled value says nothing of the rest of the axis"


def test_what_replay_saves() -> None:
    groups = (Group(name="ada"), Group(name="ben"))
    still = run(Scenario(name="s", groups=groups, horizon_s=20))
    cut = run(Scenario(name="s", groups=groups, horizon_s=40, faults=(Outage(at_s=5, duration_s=30, clients=("ben-0",)),)))
    assert missed_without_replay(still) == 0
    messages = Frames(cut.trace_index)["messages"]
    assert 0 < missed_without_replay(cut) < len(messages[messages["reader"] == "ben-0"])
