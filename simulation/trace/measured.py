"""Sums of a large run's messages: figures in place of records.

A scenario with `record = "histograms"` keeps every record of a connection and none of a message; one `MessagesMeasured` at the
end stands for all messages. `simulation.trace.aggregated` computes it during the run.
"""

import msgspec

from simulation.trace.histograms import RELATIVE_ERROR, LogHistogram


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A log histogram in stored form; values in seconds."""

    buckets: dict[str, int] = {}
    total: float = 0.0
    smallest: float | None = None
    largest: float | None = None
    relative_error: float = RELATIVE_ERROR

    def histogram(self) -> LogHistogram:
        return LogHistogram.from_buckets(
            self.buckets,
            total=self.total,
            smallest=self.smallest,
            largest=self.largest,
            relative_error=self.relative_error,
        )

    @classmethod
    def from_histogram(cls, histogram: LogHistogram) -> "Measured":
        return cls(
            buckets=histogram.buckets(),
            total=histogram.total,
            smallest=histogram.smallest,
            largest=histogram.largest,
            relative_error=histogram.relative_error,
        )


class ClientMeasured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Sums of one client: its position at the end, and since when, in ns, it has been at the position of the head at the last
    beginning or end of a fault (None: it has not). published, accepted, failed, refused: publishes."""

    epoch: str | None = None
    position: int = 0
    reached_at: int | None = None
    published: int = 0
    accepted: int = 0
    failed: int = 0
    refused: int = 0


class MessagesMeasured(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="messages_measured", omit_defaults=True, gc=False
):
    """Everything about messages in one record, the last one except the contents of the store.

    latency: from publish to delivery, of events published after the warm-up, including to the sender; answer: from publish to
    acceptance; round_trip: of pings. published, delivered, ...: as in `simulation.results.counts`. measured_publishes: after the
    warm-up; forgotten_publishes: whose delivery came too late to know when they were published. order_checked: deliveries whose
    order was checked on arrival, of which `out_of_order` were at or below the position before (a duplicate, or too late: not
    distinguished), `gaps` above the next, and `silent_epochs` of another history without a reset. answered_twice: how often an
    application got a second outcome for a publish. failed_in_warm_up: of the failed publishes, those made in the warm-up; a trace
    from before this field has 0."""

    at: int
    warm_up_s: float
    latency: Measured
    answer: Measured
    round_trip: Measured
    clients: dict[str, ClientMeasured]
    measured_publishes: int
    delivered: int
    snapshots: int
    resets: int
    order_checked: int
    out_of_order: int
    gaps: int
    silent_epochs: int
    forgotten_publishes: int = 0
    answered_twice: int = 0
    failed_in_warm_up: int = 0

    @property
    def settled_measured(self) -> tuple[int, int]:
        """Of the publishes made after the warm-up, those that were accepted and those that failed."""
        failed = sum(client.failed for client in self.clients.values()) - self.failed_in_warm_up
        return sum(self.answer.buckets.values()), failed
