"""A launcher for notebooks: sliders for the parameters of reconnecting, and the figure of the resulting storm.

    StormLauncher()          # in a notebook: move a slider, and the storm is simulated again

A load balancer is cut, so every client reconnects: how many attempts are there per second, how many wait, and when is everyone
back? The figure is `simulation.results.scenario_figures.storm` of a run of that scenario, drawn again whenever a slider is
released.
"""

import io
import math
import time
from typing import Any

import ipywidgets
import msgspec
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reference.protocol.config import ServerConfig
from reference.protocol.policies.reconnect import Attempt, capped
from simulation.results.frames import Frames
from simulation.results.scenario_figures import storm
from simulation.scenario.faults import LoadBalancerCut
from simulation.scenario.paths import Path
from simulation.scenario.presets import PRESETS, Preset, PresetPolicy
from simulation.scenario.scenario import Capacity, ClientPart, Group, Scenario, ServerPart
from simulation.scenario.workload import IDLE
from simulation.world import run

PRESET = "launcher"
CUT_AT_S = 12.0
"""When every client has been connected for the ten seconds after which a loss is not a failed attempt (`steady_after_s`)."""
ACCEPTS_PER_S = 100.0
"""The server's accept rate; low, so that some hundred clients make a storm."""
DOTS_PER_INCH = 75
SLIDERS: dict[str, tuple[str, float, float, float, float, str]] = {
    "outage": ("outage (s)", 0.0, 30.0, 0.5, 5.0, "How long no connection is accepted."),
    "clients": ("clients", 10, 400, 10, 100, "How many lose their connection; the server accepts 100 per second."),
    "base": ("base (s)", 0.1, 10.0, 0.1, 1.0, "Wait after the first failed attempt; it doubles with each further one."),
    "cap": ("cap (s)", 0.5, 60.0, 0.5, 30.0, "No wait is longer."),
    "jitter": ("jitter", 0.0, 1.0, 0.05, 1.0, "Share of each wait that is drawn: 0 none, 1 all of it (full jitter)."),
    "spread": ("spread (s)", 0.0, 30.0, 0.5, 1.0, "The first attempt comes within this time after the cut, uniformly."),
}
"""Name on the object, label, minimum, maximum, step, initial value, meaning."""


class SpreadThenJitter(msgspec.Struct, frozen=True, kw_only=True):
    """U(0, first spread) after a live session; then min(cap, base * 2**k) * U(1 - jitter, 1), k failed attempts before."""

    base_s: float
    cap_s: float
    jitter: float

    def wait_s(self, attempt: Attempt) -> float:
        """Seconds to wait before an attempt."""
        if not attempt.failures:
            return attempt.uniform(0.0, attempt.first_spread_s)
        return capped(self.base_s, 2.0, attempt.failures - 1, self.cap_s) * attempt.uniform(1 - self.jitter, 1.0)


class StormLauncher(ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Sliders `outage`, `clients`, `base`, `cap`, `jitter` and `spread`, and the figure.

    summary: of the last run, by the names of the frame `summary`. took_s: how long the simulation and the drawing took, in real
    seconds. scenario: the last one that was run.
    """

    def __init__(self, **values: float) -> None:
        """`values`: initial values of sliders, by their names. TypeError for an unknown name."""
        unknown = set(values) - set(SLIDERS)
        if unknown:
            raise TypeError(f"StormLauncher has no slider {unknown.pop()!r}; it has {', '.join(SLIDERS)}")
        self.summary: dict[str, Any] = {}
        self.took_s = math.nan
        sliders = {name: _slider(name, values.get(name)) for name in SLIDERS}
        self.outage, self.clients, self.base = sliders["outage"], sliders["clients"], sliders["base"]
        self.cap, self.jitter, self.spread = sliders["cap"], sliders["jitter"], sliders["spread"]
        self._sentence = ipywidgets.HTML()
        self._image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%"))
        for slider in sliders.values():
            slider.observe(self._moved, names="value")
        columns = [ipywidgets.VBox(list(sliders.values())[start : start + 3]) for start in (0, 3)]
        super().__init__([ipywidgets.HBox(columns), self._sentence, self._image])
        self._moved(None)

    def _moved(self, _: object) -> None:
        began_at = time.perf_counter()
        self.scenario = scenario_of(
            outage_s=self.outage.value,
            clients=self.clients.value,
            base_s=self.base.value,
            cap_s=max(self.base.value, self.cap.value),
            jitter=self.jitter.value,
            spread_s=self.spread.value,
        )
        frames = Frames(run(self.scenario).trace_index)
        self.summary = {str(name): value for name, value in frames["summary"].iloc[0].items()}
        figure = storm(frames, f"{self.clients.value} clients, cut for {self.outage.value:g} s")
        FigureCanvasAgg(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
        self._image.value = content.getvalue()
        self.took_s = time.perf_counter() - began_at
        self._sentence.value = f"<p>{_in_words(self.summary)} <small>(simulated and drawn in {self.took_s:.2f} s)</small></p>"


def scenario_of(*, outage_s: float, clients: int, base_s: float, cap_s: float, jitter: float, spread_s: float) -> Scenario:
    """A load balancer that cuts `clients` and takes none for `outage_s`. Raises ConfigError."""
    PRESETS[PRESET] = Preset(
        SpreadThenJitter(base_s=base_s, cap_s=cap_s, jitter=jitter), "the launcher's sliders", wait_max_s=cap_s
    )
    server = ServerConfig(first_spread_s=spread_s, clients_per_run_max=2000, connections_per_run_max=2000, presence_users_max=20)
    return Scenario(
        version=1,
        name="storm",
        horizon_s=CUT_AT_S + outage_s + 1,
        settle_s=10 + min(cap_s, base_s + 2 * outage_s) + spread_s + clients / ACCEPTS_PER_S,  # the longest wait of all
        record="histograms",
        workload=IDLE,
        groups=(Group(name="client", clients=clients, path=Path(latency_s=0.03), arrive_within_s=1.0),),
        client=ClientPart(policy=PresetPolicy(preset=PRESET)),
        server=ServerPart(config=server, capacity=Capacity(accepts_per_s=ACCEPTS_PER_S)),
        faults=(LoadBalancerCut(at_s=CUT_AT_S, duration_s=outage_s),),
    )


def _slider(name: str, value: float | None) -> Any:
    label, least, most, step, usual, meaning = SLIDERS[name]
    kind = ipywidgets.IntSlider if isinstance(least, int) else ipywidgets.FloatSlider
    slider = kind(
        value=usual if value is None else value, min=least, max=most, step=step, description=label, continuous_update=False
    )
    slider.tooltip = meaning
    slider.style.description_width = "6em"
    return slider


def _in_words(summary: dict[str, Any]) -> str:
    peak, back_s = summary["attempts_per_s_max"], summary["back_99_s"]
    back = "never" if back_s is None or back_s != back_s else f"{back_s:.2f} s after the end of the outage"
    return f"<b>{peak:.0f}</b> attempts in the busiest second; 99 % of the clients were back <b>{back}</b>."
