"""Everything named in docs/IMPLEMENTATION_SUMMARY.md and docs/WEBSOCKET_HEALTH_MONITORING.md exists."""

import re

import pytest

from reference.protocol.client.health import Health
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.events import DEFAULT_REGISTRY, EventClass
from reference.protocol.metrics import METRICS
from tests.docs import document

PAGES = {name: document.page(name) for name in ("IMPLEMENTATION_SUMMARY.md", "WEBSOCKET_HEALTH_MONITORING.md")}


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_names_exists(name: str) -> None:
    for line in PAGES[name].splitlines():
        folder = ""
        for path in re.findall(r"`([\w./-]+(?:/|\.(?:py|js|json|yml)))`", line):
            if path.startswith(("reference/", "simulation/", "tests/")):
                folder = path if path.endswith("/") else path.rpartition("/")[0] + "/"
                assert (document.ROOT / path).exists(), path
            elif not path.startswith("/") and folder:
                places = (document.ROOT / folder / path, document.ROOT / folder / ".." / path)
                assert any(place.exists() for place in places), f"{path} beside {folder}"


@pytest.mark.parametrize("name", PAGES)
def test_every_metric_that_a_page_names_exists(name: str) -> None:
    known = {metric.name for metric in METRICS}
    assert set(re.findall(r"`(orchestrator_\w+)`", PAGES[name])) <= known


@pytest.mark.parametrize("name", PAGES)
def test_every_field_of_health_that_a_page_names_exists(name: str) -> None:
    assert set(re.findall(r"`health\.(\w+)`", PAGES[name])) <= set(Health.__struct_fields__)


def test_the_constants_of_the_brief() -> None:
    rows = document.table(document.under("Constants", PAGES["IMPLEMENTATION_SUMMARY.md"]))
    client, server = ClientConfig(), ServerConfig()
    values = {row[1]: row[2] for row in rows}
    assert values["events_kept_max"] == str(server.events_kept_max)
    assert values["fallback_after_failures"] == str(client.fallback_after_failures)
    assert values["poll_interval_s"] == f"{client.poll_interval_s:g} s"
    assert values["retry_limit"] == str(client.retry_limit)
    critical = [each for each in ("GRAFT", "PRUNE", "FLAG") if DEFAULT_REGISTRY.class_of(each) is EventClass.CRITICAL]
    assert ", ".join(critical) in [row[2] for row in rows]
