"""The dashboard and the alerts use metrics that exist, and are consistent."""

import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import promql_parser
import pytest
import yaml

from reference.protocol.metrics import METRICS

from .dashboard import Expression, dashboard, expressions, infra, panels

THE_BRIEFS = (
    "Active WebSocket Connections",
    "Connection Rate",
    "Message Throughput",
    "Message Delivery Rate",
    "Message Latency",
    "Reconnection Frequency",
    "HTTP Polling Fallback Rate",
    "Message Failures",
)
SERIES = {
    name
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")] if metric.kind == "histogram" else [metric.name]
    )
}
LABELS = {name: set(metric.labels) for metric in METRICS for name in (metric.name, f"{metric.name}_bucket")}
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\borchestrator_\w+", expression))


def test_the_briefs_eight_panels_come_first() -> None:
    assert tuple(panel["title"] for panel in panels()[:8]) == THE_BRIEFS


def test_every_metric_but_none_that_there_is_not_is_on_the_dashboard() -> None:
    shown = {name for expression in expressions() for name in names_in(expression.text)}
    assert shown <= SERIES
    assert {metric.name for metric in METRICS} == {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: expression.panel)
def test_every_expression_is_one(expression: Expression) -> None:
    promql_parser.parse(expression.for_prometheus)
    assert 'job=~"$job"' in expression.text
    for name, _, selected in re.findall(r"(orchestrator_\w+)(\{([^}]*)\})", expression.text):
        asked = set(re.findall(r"(\w+)=~?\"", selected)) - {"job", "instance"}
        assert asked <= LABELS[name] | {"le"}


def test_every_panel_takes_the_chosen_data_source_and_has_a_place_of_its_own() -> None:
    assert [variable["name"] for variable in dashboard()["templating"]["list"]] == ["datasource", "job", "instance"]
    places = set()
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & places, panel["title"]
        places |= cells


def rules() -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load(infra("websocket-alerts.yml"))["groups"][0]["rules"]
    return found


def test_alerts_are_over_metrics_that_there_are() -> None:
    for rule in rules():
        promql_parser.parse(rule["expr"])
        assert names_in(rule["expr"]) <= SERIES, rule["alert"]


def test_the_manual_says_what_to_do_at_each_alert() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if f"### {rule['alert']}\n" not in text] == []


def test_each_alert_is_tested_quiet_and_firing() -> None:
    tested = [test["name"] for test in yaml.safe_load(infra("websocket-alerts.test.yml"))["tests"]]
    assert sorted(tested) == sorted(f"{rule['alert']} {what}" for rule in rules() for what in ("fires", "stays quiet"))


@pytest.mark.slow
@pytest.mark.parallel
@needs_promtool
def test_promtool_accepts_rules_configuration_and_tests() -> None:
    with as_file(files("reference.infra")) as folder:
        for arguments in (
            ["check", "rules", "websocket-alerts.yml"],
            ["check", "config", "prometheus.yml"],
            ["test", "rules", "websocket-alerts.test.yml"],
        ):
            done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
