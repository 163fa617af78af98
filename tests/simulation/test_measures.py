"""The brief's measures and alerts, the server's metrics, and the effect of a warm-up and a leave on figures."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.metrics import METRICS
from reference.protocol.policies.catalogue import Schedule
from reference.protocol.policies.fallback import NeverFallBack
from simulation.results.counts import count
from simulation.results.frames import Frames, summary
from simulation.results.message_frames import publishes
from simulation.results.outage_figures import group_of
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import BlockUpgrade, Outage, Reset
from simulation.scenario.population import Stay
from simulation.scenario.scenario import ClientPart, Group, Scenario, Workload
from simulation.world import run
from tests.simulation.worlds import calm, everything, everything_result

BUSY = Workload(graft_per_s=0.5, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)


@cache
def frames() -> Frames:
    return Frames(everything_result().trace_index)


@cache
def troubled() -> Frames:
    """Eight clients that are cut every two seconds for a while, and two whose proxy then lets them only poll."""
    at_once = ClientPart(config=ClientConfig(fallback_after_failures=1))
    resets = [Reset(at_s=30 + 2 * number, clients=("a",)) for number in range(5)]
    scenario = Scenario(
        name="troubled",
        groups=(Group(name="a", clients=8), Group(name="b", clients=2, client=at_once)),
        horizon_s=150,
        settle_s=60,
        workload=Workload(graft_per_s=0.2, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0),
        faults=(*resets, BlockUpgrade(at_s=60, duration_s=60, clients=("b",))),
    )
    return Frames(run(scenario).trace_index)


def test_attempts_and_connections_agree() -> None:
    attempts, connections = frames()["attempts"], frames()["connections"]
    assert (attempts["outcome"] == "welcomed").sum() == len(connections)
    assert set(attempts["outcome"]) == {"welcomed", "failed"}
    assert (connections["duration_s"] > 0).all()
    welcomed = connections["welcomed_s"] - connections["attempted_s"]
    assert welcomed[connections["transport"] == "websocket"].min() >= 0.04  # two round trips of 20 ms at the least
    first = attempts.groupby("client").head(1)
    assert first["waited_s"].isna().all()
    assert (attempts["waited_s"].dropna() >= 0).all()


def test_a_client_has_the_health_that_the_brief_defines() -> None:
    clients = frames()["clients"].set_index("client")
    assert len(clients) == 6
    calm_one = clients.loc["a-3"]
    assert calm_one["reconnections"] == 1  # the server was killed once
    assert calm_one["quality_score"] == pytest.approx(0.4 * 100 + 0.3 * 80 + 0.3 * 100)
    assert calm_one["status"] == "Reconnected"
    assert calm_one["quality"] == "HEALTHY"
    assert clients["reconnections"].sum() == everything_result().counts.reconnections
    assert clients["fallbacks"].sum() == everything_result().counts.fallbacks
    assert clients["accepted"].sum() == everything_result().counts.accepted


def test_minutes_add_up_to_the_run() -> None:
    minutes = troubled()["minutes"]
    assert minutes["reconnections_per_min"].sum() == troubled()["clients"]["reconnections"].sum()
    assert minutes["fallbacks_per_min"].sum() == troubled()["clients"]["fallbacks"].sum()
    assert minutes["delivery_rate"].dropna().eq(1.0).all()


def test_the_alerts_of_the_brief_fire_when_their_lines_are_crossed() -> None:
    alerts = troubled()["alerts"].set_index("alert")
    reconnections = alerts.loc["reconnections_per_min"]
    assert reconnections["fired_s"] in (30.0, 45.0)
    assert 75.0 <= reconnections["until_s"] <= 105.0
    assert reconnections["worst"] >= 20
    assert alerts.loc["fallbacks_per_min"]["worst"] == 2
    assert "delivery_rate" not in alerts.index
    # A poller waits up to two seconds: the brief's line for latency is crossed by its own fallback. The pings do not show it.
    assert "latency_p95_s" in alerts.index
    assert "round_trip_p95_s" not in alerts.index


def test_no_alert_fires_in_a_calm_run() -> None:
    assert Frames(run(calm(4, horizon_s=120.0)).trace_index)["alerts"].empty


def test_the_metrics_have_the_servers_names_and_values() -> None:
    metrics = frames()["metrics"]
    bare = metrics["metric"].str.replace("_(?:bucket|sum|count)$", "", regex=True)
    assert set(bare) <= {metric.name for metric in METRICS}

    def value(name: str, **labels: str) -> float:
        mask = (metrics["metric"] == f"orchestrator_{name}") & (metrics["labels"] == json.dumps(labels))
        return float(metrics[mask]["value"].iloc[0])

    counts = everything_result().counts
    assert value("websocket_publishes_accepted_total") == counts.accepted
    assert value("store_events_total") == counts.accepted
    assert value("websocket_fallback_http_total", reason="unknown") == counts.fallbacks
    assert value("websocket_message_latency_seconds_count") == len(frames()["round_trips"])
    assert value("websocket_recovery_seconds_count") == counts.reconnections
    assert value("websocket_recovery_seconds_bucket", le="+Inf") == counts.reconnections


def test_a_warm_up_is_left_out_of_figures_and_not_of_counts() -> None:
    whole, warm = everything_result(), run(everything(warm_up_s=30.0))
    assert count(warm.trace_index) == count(whole.trace_index)
    one, other = summary(whole.trace_index).iloc[0], summary(warm.trace_index).iloc[0]
    late = frames()["messages"].query("published_s >= 30")
    assert other["messages"] == len(late) < one["messages"]
    assert other["latency_p95_s"] == pytest.approx(late["latency_s"].quantile(0.95))
    assert other["interruption_p50_s"] != one["interruption_p50_s"]


@pytest.mark.parametrize("record", ["full", "histograms"])
def test_a_delivery_rate_leaves_out_publishes_of_the_warm_up(record: str) -> None:
    """Two groups give up for good, one in the warm-up and one after it; what they had queued fails."""
    once = ClientPart(
        config=ClientConfig(ping_interval_s=1, ping_timeout_s=1), policy=Schedule(waits_s=(0.1,)), fallback=NeverFallBack()
    )
    scenario = Scenario(
        name="rates",
        groups=tuple(Group(name=name, clients=2, arrive_within_s=0) for name in ("soon", "late")),
        horizon_s=12,
        settle_s=10,
        warm_up_s=5,
        workload=Workload(graft_per_s=2, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0),
        client=once,
        faults=(Outage(at_s=2, duration_s=3, clients=("soon",)), Outage(at_s=7, duration_s=30, clients=("late",))),
    )
    sent = publishes(run(scenario).trace_index)
    outcomes = sent[sent["published_s"] >= 5]["outcome"].value_counts()
    of_all = sent["outcome"].value_counts()
    assert of_all["failed"] > outcomes["failed"] > 0
    found = Frames(run(scenario.replace(record=record)).trace_index)
    rate = float(outcomes["accepted"] / (outcomes["accepted"] + outcomes["failed"]))
    assert found["summary"]["delivery_rate"].item() == pytest.approx(rate, rel=1e-12)
    assert rate != pytest.approx(float(of_all["accepted"] / (of_all["accepted"] + of_all["failed"])))
    groups = found["groups"].set_index("group")
    assert groups["published"].to_dict() == sent.groupby(sent["sender"].map(group_of)).size().to_dict()
    assert groups[["accepted", "failed"]].sum().to_dict() == of_all.to_dict(), "counts are of the whole run"


def test_who_left_is_owed_nothing() -> None:
    leaves = Group(name="g", clients=2, arrive_within_s=0, stay=Stay(lasts=Constant(value=5)))
    trace_index = run(
        Scenario(name="x", groups=(Group(name="h", clients=2), leaves), horizon_s=20, settle_s=5, workload=BUSY)
    ).trace_index
    all_messages, row = Frames(trace_index)["messages"], summary(trace_index).iloc[0]
    gone = all_messages[all_messages["has_left"]]
    assert set(gone["reader"]) == {"g-0", "g-1"}
    assert gone["published_s"].min() > 4.9
    assert row["undelivered"] == 0
    assert row["messages"] == len(all_messages) - len(gone)
    assert row["gave_up"] == 0
    assert row["lost"] == 0


def test_histograms_say_what_frames_say_within_their_error() -> None:
    lean = run(everything(record="histograms")).trace_index
    one, other = summary(everything_result().trace_index).iloc[0], summary(lean).iloc[0]
    assert other["error_share"] == 0.01
    assert one["error_share"] == 0
    assert other["delivery_rate"] == one["delivery_rate"]
    for name in ("latency_p50_s", "latency_p99_s", "round_trip_p50_s"):
        assert other[name] == pytest.approx(one[name], rel=0.010001)
    assert np.isnan(other["undelivered"])
    alerts = Frames(lean)["alerts"]
    assert set(alerts[~alerts["is_judged"]]["alert"]) == {"delivery_rate", "latency_p95_s", "round_trip_p95_s"}
    assert isinstance(Frames(lean)["messages"], pd.DataFrame)
    assert Frames(lean)["clients"]["accepted"].sum() == everything_result().counts.accepted
