"""The dashboard as a test sees it: its panels, and their expressions as Prometheus takes them."""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

RATE_INTERVAL = "30s"


@dataclass(frozen=True)
class Expression:
    panel: str
    text: str

    @property
    def for_prometheus(self) -> str:
        """With what Grafana puts in place of its variables."""
        return self.text.replace("$__rate_interval", RATE_INTERVAL).replace("$job", ".+").replace("$instance", ".+")


def infra(name: str) -> str:
    """The text of a file of reference/infra."""
    return files("reference.infra").joinpath(name).read_text(encoding="utf-8")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(infra("grafana-websocket-dashboard.json"))
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[Expression]:
    return [Expression(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
