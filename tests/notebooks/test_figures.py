"""The figures of notebooks: their numbers, and that they are readable."""

from itertools import combinations

import msgspec
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from reference.protocol.client.health import Health, Quality, RoundTrips, Status
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from simulation.results.frames import Frames
from simulation.results.notebooks.worlds import REAL, SIMULATED, health_table, latencies, one_clients_cut, side_by_side, waiting
from simulation.scenario.faults import Outage
from simulation.scenario.scenario import ClientPart, Group, Scenario, Workload
from simulation.world import run

SCENARIO = Scenario(
    name="figure",
    horizon_s=12,
    settle_s=5,
    groups=(Group(name="ada"), Group(name="ben")),
    workload=Workload(chat_per_s=4),
    client=ClientPart(config=ClientConfig(ping_interval_s=1.0, ping_timeout_s=1.0)),
    faults=(Outage(at_s=4, duration_s=3, clients=("ada",)),),
)


@pytest.fixture(scope="module")
def worlds() -> dict[str, Frames]:
    return {REAL: Frames(run(SCENARIO, seed=1).trace_index), SIMULATED: Frames(run(SCENARIO, seed=2).trace_index)}


def test_waiting_counts_what_has_no_answer() -> None:
    publishes = pd.DataFrame(
        [("ada", 1.0, 1.5), ("ada", 1.25, 3.0), ("ada", 2.0, 3.0), ("ada", 2.5, None), ("ben", 0.0, 9.0)],
        columns=["sender", "published_s", "answered_s"],
    )
    queue = waiting(publishes, "ada")
    assert list(queue["time_s"]) == [1.0, 1.25, 1.5, 2.0, 2.5, 3.0]
    assert list(queue["waiting"]) == [1, 2, 1, 2, 3, 1]


def test_latencies_are_of_messages_to_others(worlds: dict[str, Frames]) -> None:
    table = latencies({SIMULATED: worlds[SIMULATED]})
    senders, readers = (table.index.get_level_values(level) for level in ("sender", "reader"))
    assert len(table) == len(worlds[SIMULATED]["publishes"])
    assert (senders != readers).all()


def test_side_by_side(worlds: dict[str, Frames]) -> None:
    table = side_by_side(worlds, ("published", "delivery_rate"))
    assert list(table.index) == ["published", "delivery_rate"]
    assert list(table.columns) == [REAL, SIMULATED]
    with pytest.raises(ConfigError, match="no summary has garbage"):
        side_by_side(worlds, ("published", "garbage"))


def test_health_of_who_knows_nothing_yet() -> None:
    young = Health(Status.DISCONNECTED, None, RoundTrips(), None, 0, 3, Quality.UNKNOWN, None)
    old = msgspec.structs.replace(young, round_trip=RoundTrips(1, 80.25, 80.25, 80.25, 80.25), delivery_rate=1.0)
    table = health_table({"ada": young, "ben": old})
    assert list(table["ada"]) == ["Disconnected", "none", "unknown", "unknown", "3", "0", "UNKNOWN (unknown)"]
    assert table["ben"]["round trip, median (ms)"] == "80.2"


@pytest.mark.parametrize("shown", [(REAL,), (REAL, SIMULATED)])
def test_texts_do_not_overlap(worlds: dict[str, Frames], shown: tuple[str, ...]) -> None:
    figure = one_clients_cut({world: worlds[world] for world in shown}, "ada-0")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ticks = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels(which="both")}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in ticks]
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts}
    page = figure.bbox
    for text, box in boxes.items():
        assert page.x0 <= box.x0, f"{text.get_text()!r} is cut off"
        assert box.x1 <= page.x1, f"{text.get_text()!r} is cut off"
    overlapping = [
        (one.get_text(), other.get_text()) for one, other in combinations(texts, 2) if boxes[one].overlaps(boxes[other])
    ]
    assert overlapping == []
