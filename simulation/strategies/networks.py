"""Paths with everything that a path can have: laws, recordings, thin and uneven bottlenecks, queues, loss, middleboxes."""

from hypothesis import strategies as st

from simulation.laws import Constant, Empirical, Exponential, Law, LogNormal, Pareto, Uniform
from simulation.paths import BernoulliLoss, GilbertElliottLoss, Middlebox, Path, Tcp


def delay_laws() -> st.SearchStrategy[Law]:
    """Laws whose draws are short times, in seconds."""
    short = st.sampled_from([0.001, 0.02, 0.3])
    return st.one_of(
        short.map(lambda value: Constant(value=value)),
        short.map(lambda value: Uniform(high=value)),
        short.map(lambda value: Exponential(scale=value)),
        short.map(lambda value: LogNormal(median=value, sigma=1.0)),
        short.map(lambda value: Pareto(scale=value, shape=1.5, most=10.0)),
        st.lists(short, min_size=1, max_size=3).map(lambda values: Empirical(values=tuple(values))),
    )


@st.composite
def rich_paths(draw: st.DrawFn) -> Path:
    """Any path, also such as break connections by themselves."""
    is_recorded = draw(st.booleans())
    rates = st.sampled_from([None, 3_000.0, 100_000.0])
    probabilities = st.sampled_from([0.0, 0.01, 0.3])
    bursts = st.builds(GilbertElliottLoss, good_to_bad=probabilities, bad_to_good=st.sampled_from([0.2, 0.9]))
    return Path(
        latency_s=draw(st.sampled_from([0.0, 0.02, 0.3])),
        jitter_s=draw(st.sampled_from([0.0, 0.05])),
        bandwidth_bytes_per_s=None if is_recorded else draw(rates),
        up_bandwidth_bytes_per_s=None if is_recorded else draw(rates),
        delay=draw(st.none() | delay_laws()),
        recorded_latency=draw(st.sampled_from([(), ((0.0, 0.1),), ((0.0, 0.01), (3.0, 0.4), (5.0, 0.05))])),
        deliveries_ms=(0, 1, 1, 7, 300) if is_recorded else (),
        queue_bytes=draw(st.sampled_from([None, None, 3_000])),
        loss=draw(st.none() | st.builds(BernoulliLoss, probability=probabilities) | bursts),
        tcp=draw(
            st.builds(
                Tcp,
                resumes=st.sampled_from(["at_once", "rto"]),
                syn=st.sampled_from(["classic", "linux_6_5"]),
                tls=st.sampled_from(["none", "1.3", "1.2"]),
                retries=st.sampled_from([3, 15]),
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
