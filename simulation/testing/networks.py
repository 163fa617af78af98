"""Strategies for paths with all features: distributions, network traces, slow and asymmetric bottlenecks, queues, loss,
middleboxes."""

from hypothesis import strategies as st

from simulation.scenario.paths import BernoulliLoss, FadingLoss, GilbertElliottLoss, Middlebox, Path, Tcp
from simulation.testing.populations import distributions


@st.composite
def rich_paths(draw: st.DrawFn) -> Path:
    """Any path, including paths that break connections by themselves."""
    is_recorded = draw(st.booleans())
    rates = st.sampled_from([None, 3_000.0, 100_000.0])
    down, up = draw(rates), draw(rates)  # always sampled, so that the simpler path is the one without a network trace
    queue_bytes = draw(st.sampled_from([None, None, 3_000]))
    probabilities = st.sampled_from([0.0, 0.01, 0.3])
    bursts = st.builds(GilbertElliottLoss, good_to_bad=probabilities, bad_to_good=st.sampled_from([0.2, 0.9]))
    fades = st.builds(FadingLoss, good_ms=st.sampled_from([300.0, 5000.0]), bad_ms=st.sampled_from([20.0, 700.0]))
    return Path(
        latency_s=draw(st.sampled_from([0.0, 0.02, 0.3])),
        jitter_s=draw(st.sampled_from([0.0, 0.05])),
        bandwidth_bytes_per_s=None if is_recorded else down,
        up_bandwidth_bytes_per_s=None if is_recorded else up,
        delay=draw(st.none() | distributions(0.001, 0.02, 0.3)),
        recorded_latency=draw(st.sampled_from([(), ((0.0, 0.1),), ((0.0, 0.01), (3.0, 0.4), (5.0, 0.05))])),
        deliveries_ms=(0, 1, 1, 7, 300) if is_recorded else (),
        queue_bytes=queue_bytes if is_recorded or down or up else None,
        loss=draw(st.none() | st.builds(BernoulliLoss, probability=probabilities) | bursts | fades),
        tcp=draw(
            st.builds(
                Tcp,
                resumes=st.sampled_from(["at_once", "rto"]),
                syn=st.sampled_from(["linux_6_5", "classic"]),
                tls=st.sampled_from(["none", "1.3", "1.2"]),
                retries=st.sampled_from([15, 3]),
                congestion=st.sampled_from(["none", "none", "linux"]),
                initial_window_packets=st.sampled_from([10, 2]),
                receive_window_bytes=st.sampled_from([3 * 2**20, 4_000]),
            )
        ),
        middlebox=draw(
            st.builds(
                Middlebox,
                idle_timeout_s=st.sampled_from([None, None, 5.0, 30.0]),
                idle_effect=st.sampled_from(["silent", "reset"]),
                connection_age_max_s=st.sampled_from([None, None, 15.0]),
                websocket_age_max_s=st.sampled_from([None, None, 0.3]),
                upgrades=st.sampled_from(["pass", "pass", "block", "strip", "hang"]),
            )
        ),
    )
