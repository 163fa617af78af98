"""Every scenario of the library shows what its description says, and no guarantee is violated."""

from collections.abc import Callable
from functools import cache

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S
from simulation.results.frames import Frames
from simulation.scenario import library
from simulation.scenario.scenario import Scenario
from simulation.trace.trace import ConnectionLost, EntryStored, PathTroubled, ResetTaken, SnapshotTaken, WaitAsked
from simulation.world import Result, run

LATENCY_LINE_S = 0.5
"""The brief's: above it, an alert."""


class Seen:
    """One run of a scenario, and its frames."""

    def __init__(self, scenario: Scenario) -> None:
        self.result: Result = run(scenario)
        self.frames = Frames(self.result.trace_index)
        assert self.result.is_ok, [str(verdict) for verdict in self.result.verdicts.values() if verdict.violated]

    def of(self, frame: str, group: str, column: str = "client") -> pd.DataFrame:
        """The rows of a group's clients."""
        rows = self.frames[frame]
        return rows[rows[column].str.startswith(f"{group}-")]

    def latency_s(self, group: str, quantile: float, since_s: float = 0.0, until_s: float = 1e9, sender: str = "") -> float:
        """Of what the group's clients were given, published in that stretch, by that group if one is named."""
        rows = self.of("messages", group, "reader")
        rows = rows[rows["sender"].str.startswith(sender)]
        rows = rows[(rows["published_s"] >= since_s) & (rows["published_s"] < until_s)]
        return float(rows["latency_s"].quantile(quantile))

    def reconnections(self, group: str) -> int:
        return int(self.of("clients", group)["reconnections"].sum())


@cache
def seen(name: str) -> Seen:
    return Seen(library.load(name))


def first_look(run: Seen) -> None:
    assert (run.of("clients", "hotel")["fallbacks"] == 1).all()
    assert run.result.counts.server_restarts == 1
    messages = run.frames["messages"]
    late = messages[messages["delivered_s"] - messages["published_s"] > 5]
    assert len(late) > 100  # what was made in a fault comes in a burst after it


def elevator(run: Seen) -> None:
    own = run.of("publishes", "tablet", "sender")
    stuck = own[own["answered_s"] - own["published_s"] > 5.0]
    assert len(stuck) > 5
    assert stuck["sequence_number"].is_monotonic_increasing
    assert run.reconnections("tablet") < 4  # of the four troubles, the connection outlives the short one


def server_restart(run: Seen) -> None:
    first = run.frames["attempts"].query("attempted_s >= 20").groupby("client")["attempted_s"].first()
    assert len(first) == 200
    assert first.min() < 20.1
    assert 20.9 < first.max() < 21.05
    refused = run.frames["attempts"].query("20 <= attempted_s < 23 and outcome == 'failed'")
    assert len(refused) >= 200
    assert run.result.counts.lost == 0


def hotel_wifi(run: Seen) -> None:
    assert (run.of("clients", "hotel")["status"] == "HTTP Polling").all()
    settled = 40.0  # five failed attempts take their time
    assert run.latency_s("hotel", 0.95, settled) > LATENCY_LINE_S > run.latency_s("office", 0.5, settled)
    assert run.latency_s("hotel", 0.95, settled) < 3.0
    assert run.frames["summary"]["delivery_rate"].iloc[0] == 1.0


def laptop_sleep(run: Seen) -> None:
    taken = {
        record.client: record for record in run.result.trace if isinstance(record, SnapshotTaken) and record.at > 520 * NS_PER_S
    }
    assert sorted(taken) == ["laptop-0", "laptop-1", "laptop-2", "older-0", "older-1", "older-2"]
    assert min(record.sequence_number for record in taken.values()) > 200
    counted, stopped = (run.of("interruptions", group)["start_s"] for group in ("laptop", "older"))
    assert (counted == 530.0).all()  # a ping at 520 s, and its timeout
    assert ((stopped > 530.0) & (stopped < 540.0)).all()
    assert run.reconnections("desk") == 0


def background_tab(run: Seen) -> None:
    for group, first_s, second_s in (("front", 10.0, 10.0), ("behind", 12.0, 130.0)):
        rows = run.of("interruptions", group)
        assert rows.query("start_s < 300")["duration_s"].max() < first_s
        assert rows.query("start_s > 500")["duration_s"].max() < second_s
    assert run.of("interruptions", "behind").query("start_s > 500")["duration_s"].mean() > 20.0


def network_change(run: Seen) -> None:
    first = {group: run.of("interruptions", group).query("start_s < 100") for group in ("phone", "laptop")}
    assert (first["phone"]["start_s"] == 60.0).all()
    assert first["phone"]["end_s"].max() < 63.0
    assert first["laptop"]["start_s"].min() > 70.0  # ten seconds without an answer
    last = pd.concat([run.of("interruptions", group).query("start_s > 200") for group in ("phone", "laptop")])
    assert (last["start_s"] > 240.0).all()
    assert len(last) == 6
    assert run.reconnections("office") == 0


def dns_failover(run: Seen) -> None:
    back = {group: run.of("interruptions", group)["end_s"] for group in ("short", "long", "floating")}
    assert 90.0 < back["short"].min() < back["short"].max() < 90.0 + 30.0 + 30.0
    assert 200.0 < back["long"].max() < 90.0 + 300.0 + 60.0
    assert back["floating"].max() < 90.0
    assert run.result.counts.lost == 0


def long_path_snapshot(run: Seen) -> None:
    taken = {record.client: record.at for record in run.result.trace if isinstance(record, SnapshotTaken)}
    joined: dict[str, int] = {
        record.client_id: record.at for record in run.result.trace_index.sessions if hasattr(record, "client_id")
    }
    # 10, 20, 40, 80 and 160 packets, then 179 at a time, which the send buffer holds. The last flight of a snapshot arrives half
    # a round trip after it has left: of 686 packets the eighth, of 604, half a second later, the seventh.
    for group, round_trip_s, round_trips in (("near", 0.01, 7.5), ("far", 0.2, 6.5)):
        for client in (f"{group}-{number}" for number in range(3)):
            assert (taken[client] - joined[client]) / NS_PER_S == pytest.approx(round_trips * round_trip_s)


def port_storm(run: Seen) -> None:
    denied = [
        record.at / NS_PER_S for record in run.result.trace if isinstance(record, PathTroubled) and record.what == "no_port"
    ]
    assert len(denied) > 150
    assert min(denied) > 65.0
    back = run.frames["interruptions"].query("start_s > 60")["end_s"]
    assert 100.0 < back.max() < 66.0 + 65.0
    assert run.frames["interruptions"].query("start_s < 60")["duration_s"].max() < 15.0


def flapping_proxy(run: Seen) -> None:
    assert (run.of("clients", "steady")["status"] == "HTTP Polling").all()
    assert (run.of("clients", "naive")["fallbacks"] == 0).all()
    assert run.reconnections("naive") > 4 * 100  # in four minutes
    assert run.reconnections("steady") < 4 * 10
    assert "reconnections_per_min" in set(run.frames["alerts"]["alert"])
    late = run.of("interruptions", "steady").query("start_s > 60")
    # A probe that proves itself ends polling (7.29), and dies young: polling carries again from its first answer, a round trip of
    # 80 ms later. Each such probe counts as failed (7.28), so they are rare.
    assert (late["duration_s"] < 0.1).all()
    assert (late.groupby("client").size() <= 3).all()


def rolling_deploy(run: Seen) -> None:
    moves = run.frames["clients"]["reconnections"]
    assert (moves >= 1).all()
    assert (moves > 1).any()
    assert run.result.counts.failed == 0


def nat_idle_kill(run: Seen) -> None:
    assert run.reconnections("lively") == 0
    assert run.reconnections("lazy") > 3 * 4
    ended = run.of("connections", "lazy").query("ended_by == 'client'")
    assert (ended["duration_s"] > 60).all()
    assert (ended["code"] == 4003).all()  # it was not notified: its ping was not answered


def slow_consumer(run: Seen) -> None:
    assert run.latency_s("thin", 0.5, 50, 60) > 2 * run.latency_s("thin", 0.5, 10, 20)
    assert run.latency_s("reader", 0.99) < LATENCY_LINE_S
    assert run.reconnections("reader") == 0


def poison_message(run: Seen) -> None:
    poisoned = run.result.trace_index.clients["poisoned-0"]
    assert poisoned.refused > 5
    assert len(poisoned.accepted) == len(poisoned.published) > 50
    assert run.result.counts.unsettled == run.result.counts.failed == 0


def commuter_train(run: Seen) -> None:
    outages = 6
    assert 0 < run.reconnections("train") <= 3 * (outages - 3)  # the connection outlives the short ones
    own = run.of("publishes", "train", "sender")
    long_tunnel = own.query("165 <= published_s < 200 and answered_s >= 205")
    assert len(long_tunnel) > 10
    assert run.reconnections("office") == 0


def mobile_loss(run: Seen) -> None:
    tails = {group: run.latency_s(group, 0.99, sender="fixed") for group in ("fixed", "even", "mobile")}
    assert tails["even"] > tails["fixed"] + 0.1  # a packet that is lost costs a wait of at least 200 ms
    assert tails["mobile"] > tails["even"]


def gc_pause(run: Seen) -> None:
    gone = run.frames["interruptions"]
    assert gone.query("start_s < 50").empty
    assert gone.query("start_s >= 50")["client"].nunique() == 20
    assert run.result.counts.failed == run.result.counts.lost == 0


def slow_store(run: Seen) -> None:
    sent = run.frames["publishes"]
    took_s = sent["answered_s"] - sent["published_s"]
    during = took_s[(sent["published_s"] > 20) & (sent["published_s"] < 40)]
    assert during.median() > 1.0 > 0.1 > took_s[sent["published_s"] < 19].median()
    assert run.result.counts.reconnections == 0


def token_expiry(run: Seen) -> None:
    lost = [record for record in run.result.trace if isinstance(record, ConnectionLost) and record.code == 4401]
    assert {record.client for record in lost} == {"tunnel-0", "tunnel-1"}
    assert not any(client.is_over for client in run.result.trace_index.clients.values())
    assert run.result.counts.resets == 0
    assert run.result.counts.unsettled == run.result.counts.failed == 0


def store_lost(run: Seen) -> None:
    reset = {record.client for record in run.result.trace if isinstance(record, ResetTaken)}
    assert reset == set(run.result.trace_index.clients)
    assert run.result.counts.lost_with_store > 50
    assert run.result.counts.lost == 0


def clock_step(run: Seen) -> None:
    assert run.result.counts.server_restarts == 1
    stored = [record for record in run.result.trace if isinstance(record, EntryStored)]
    assert [record.sequence_number for record in stored] == list(range(1, len(stored) + 1))
    assert run.result.counts.gaps == run.result.counts.duplicates == 0
    assert run.frames["interruptions"]["duration_s"].max() < 30


def one_way_black_hole(run: Seen) -> None:
    deaf, mute = (run.of("interruptions", group)["start_s"] for group in ("deaf", "mute"))
    assert len(deaf) == len(mute) == 1
    assert 30 < deaf.iloc[0] < 51
    assert 60 < mute.iloc[0] < 66
    own = run.of("publishes", "deaf", "sender")
    assert (own["outcome"] == "accepted").all()
    again = [answer for answer in run.result.trace_index.answers if answer and answer.client_id == "deaf-0" and answer.duplicate]
    assert again
    assert run.reconnections("well") == 0


def open_plan(run: Seen) -> None:
    trace_index = run.result.trace_index
    second = [name for name in trace_index.clients if name.endswith(".2")]
    assert len(second) >= 15
    assert all(any(isinstance(record, SnapshotTaken) for record in trace_index.clients[name].records) for name in second)
    assert run.frames["summary"]["undelivered"].iloc[0] == 0
    assert run.frames["messages"]["has_left"].any()


def metastable_restart(run: Seen) -> None:
    def last_back_s(of: Seen) -> float:
        return float(of.frames["interruptions"]["end_s"].max()) - 34.0  # the server is there again at 34 s

    work_s = 600 * 0.02
    assert last_back_s(run) > 4 * work_s
    shedding = {"queue_wait_max_s": 1.0, "retry_after_s": 2.0, "spread_s": 20.0}
    jitter = Seen(run.result.scenario.replace({"client.policy": {"preset": "steadywire"}}))
    assert last_back_s(jitter) < 0.7 * last_back_s(run)
    shed = Seen(run.result.scenario.replace({"server.capacity.shedding": shedding}))
    back = {name: of.frames["interruptions"]["duration_s"].median() for name, of in (("none", run), ("shed", shed))}
    assert back["shed"] < 0.8 * back["none"]


def flash_crowd(run: Seen) -> None:
    waits = {record.client for record in run.result.trace if isinstance(record, WaitAsked)}
    assert len(waits) > 50
    work = run.frames["work"]
    assert work["shed"].sum() >= len(waits)
    assert (work["busy_s"] >= 0).all()
    assert (work["waited_mean_s"].dropna() <= work["waited_max_s"][work["waited_mean_s"].notna()]).all()
    assert run.of("interruptions", "team").empty
    assert run.result.counts.unsettled == 0
    assert run.of("clients", "crowd")["transport"].notna().all()


def load_balancer_cut(run: Seen) -> None:
    gone = run.frames["interruptions"]
    assert gone["client"].nunique() == 10_000
    assert gone["has_returned"].all()
    first = run.frames["attempts"].query("attempted_s >= 30").groupby("client")["attempted_s"].first()
    counts = first.groupby((first - 30.0).floordiv(0.5)).size()
    assert counts.loc[0:9].between(600, 1400).all()  # spread over five seconds, 1,000 in each half
    assert run.frames["work"]["waited_max_s"].max() > 0.1


CHECKS: dict[str, Callable[[Seen], None]] = {
    check.__name__: check
    for check in (
        background_tab,
        clock_step,
        commuter_train,
        dns_failover,
        elevator,
        first_look,
        flapping_proxy,
        flash_crowd,
        gc_pause,
        hotel_wifi,
        laptop_sleep,
        load_balancer_cut,
        long_path_snapshot,
        metastable_restart,
        mobile_loss,
        nat_idle_kill,
        network_change,
        one_way_black_hole,
        open_plan,
        poison_message,
        port_storm,
        rolling_deploy,
        server_restart,
        slow_consumer,
        slow_store,
        store_lost,
        token_expiry,
    )
}


def test_every_scenario_has_a_check_and_two_sentences_on_what_to_look_for() -> None:
    assert tuple(CHECKS) == library.names()
    assert len(CHECKS) >= 15
    for name in library.names():
        scenario = library.load(name)
        assert scenario.name == name
        sentences = [part for part in scenario.about.replace("\n", " ").split(". ") if part.strip()]
        assert len(sentences) == 2, name
        assert "Look at" in scenario.about, name


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no scenario is called 'lift'; there are .*elevator"):
        library.load("lift")
    with pytest.raises(ConfigError, match="no scenario is called"):
        library.text_of("../library/elevator")


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("name", CHECKS)
def test_it_shows_what_its_sentences_say(name: str) -> None:
    CHECKS[name](seen(name))
