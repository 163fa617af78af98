"""Head-of-line blocking in whole worlds: writers whose network takes no time, and a reader behind a path on which every frame
takes a time of its own, in order."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np

from simulation.results.frames import Frames
from simulation.scenario.distributions import Exponential
from simulation.scenario.paths import Path
from simulation.scenario.scenario import Group, ServerPart
from simulation.scenario.still_world import AT_ONCE, PATIENT_SERVER, QUIET, still_world
from simulation.validation.closed_forms import stream
from simulation.validation.experiment import Expected, TheoryExperiment, require
from simulation.world import run

WRITERS = 2


@dataclass(frozen=True, kw_only=True)
class InOrder(TheoryExperiment):
    """From the publish to the delivery, at so many messages a second, over d0 + Exp(mean)."""

    family: ClassVar[str] = "stream"
    messages_per_s: float
    floor_s: float
    mean_s: float
    messages: int = 700

    def expected(self) -> dict[str, Expected]:
        arguments = (self.messages_per_s, self.floor_s, self.mean_s)
        soon_s = stream.quantile_s(0.25, *arguments)
        return {
            "mean delay": Expected(stream.delay_mean_s(*arguments), "s", 0.01),
            f"P(delay <= {1000 * soon_s:.0f} ms)": Expected(stream.cdf(round(soon_s, 3), *arguments), "", 0.05),
            "95 % quantile": Expected(stream.quantile_s(0.95, *arguments), "s", 0.015),
        }

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        warm_up_s = 2 * self.floor_s + 50 * self.mean_s
        lasts_s = warm_up_s + self.messages / self.messages_per_s
        config = msgspec.structs.replace(
            PATIENT_SERVER, publishes_per_s=1e6, publish_burst=10**6, frames_per_s=2e6, frame_burst=2 * 10**6
        )
        path = Path(latency_s=self.floor_s, delay=Exponential(scale=self.mean_s))
        writing = msgspec.structs.replace(QUIET, chat_per_s=self.messages_per_s / WRITERS)
        scenario = still_world("stream", 1).replace(
            groups=(
                Group(name="writer", clients=WRITERS, path=AT_ONCE, arrive_within_s=0.0, workload=writing),
                Group(name="reader", path=path, arrive_within_s=0.0),
            ),
            server=ServerPart(config=config, commit_time_s=0.0),
            horizon_s=lasts_s,
            settle_s=100 * (self.floor_s + self.mean_s),
        )
        result = run(scenario, seed=seed, replication=replication)
        messages = Frames(result.trace_index)["messages"]
        messages = messages[(messages["reader"] == "reader-0") & (messages["published_s"] > warm_up_s)]
        require(bool(messages["is_delivered"].all()), "everything is delivered")
        delays = messages["latency_s"].to_numpy()
        soon = next(name for name in self.expected() if name.startswith("P("))
        soon_s = float(soon.split()[-2]) / 1000
        return {
            "mean delay": float(delays.mean()),
            soon: float(np.mean(delays <= soon_s)),
            "95 % quantile": float(np.quantile(delays, 0.95)),
        }
