"""Strategies for distributions, workloads, populations and availability: every kind of each."""

from hypothesis import strategies as st

from simulation.scenario.distributions import Constant, Distribution, Empirical, Exponential, LogNormal, Pareto, Uniform
from simulation.scenario.paths import AlternatingRenewal, Availability, OnOffMarkov, PeriodicAvailability, RecordedAvailability
from simulation.scenario.population import Arrivals, FlashCrowd, PoissonArrivals, RecordedArrivals, Stay, Uniformly
from simulation.scenario.workload import OnOff, Periodic, Poisson, RecordedTimes, Stream, Timing, Workload


def distributions(*values: float) -> st.SearchStrategy[Distribution]:
    """Every distribution, with one of these positive values as its value, or around it."""
    about = st.sampled_from(values)
    return st.one_of(
        about.map(lambda value: Constant(value=value)),
        about.map(lambda value: Uniform(high=value)),
        about.map(lambda value: Exponential(scale=value)),
        about.map(lambda value: LogNormal(median=value, sigma=1.0)),
        about.map(lambda value: Pareto(scale=value, shape=1.5, most=30 * value)),
        st.lists(about, min_size=1, max_size=3).map(lambda drawn: Empirical(values=tuple(drawn))),
    )


def timings(per_s: float) -> st.SearchStrategy[Timing]:
    """When events are published: every kind, at about that rate while there are any."""
    times = st.lists(st.integers(0, 100).map(lambda tenths: tenths / 10), min_size=1, max_size=5).map(sorted).map(tuple)
    return st.one_of(
        st.just(Poisson(per_s=per_s)),
        st.builds(lambda on, off: OnOff(per_s=per_s, on=on, off=off), distributions(0.5, 2.0), distributions(1.0, 5.0)),
        st.builds(lambda first_s: Periodic(every_s=1 / per_s, first_s=first_s), st.sampled_from([None, 0.0, 3.0])),
        st.builds(lambda at, repeats: RecordedTimes(times_s=at, repeat_s=12.0 if repeats else None), times, st.booleans()),
    )


@st.composite
def workloads(draw: st.DrawFn, rates_per_s: tuple[float, ...] = (0.1, 1.0, 5.0), bytes_max: int = 2000) -> Workload:
    """What each client publishes; events per second from `rates_per_s`, data of at most `bytes_max` bytes."""
    rate = draw(st.sampled_from(rates_per_s))
    sizes = st.none() | distributions(float(bytes_max) / 100, float(bytes_max) / 30)
    streams = st.none() | st.none() | st.builds(lambda timing, size: Stream(timing=timing, size_bytes=size), timings(rate), sizes)
    return Workload(
        graft_per_s=rate,
        prune_per_s=rate / 2,
        flag_per_s=rate / 5,
        chat_per_s=rate,
        cursor_per_s=draw(st.sampled_from([0.0, 2.0])),
        graft=draw(streams),
        flag=draw(streams),
        chat=draw(streams),
        cursor=draw(streams),
        size_bytes=draw(sizes),
    )


def arrivals(clients: int) -> st.SearchStrategy[Arrivals]:
    """When the clients of a group arrive: every kind, within some seconds."""
    times = st.lists(st.integers(0, 50).map(lambda tenths: tenths / 10), min_size=clients, max_size=clients).map(tuple)
    return st.one_of(
        st.sampled_from([1.0, 0.0, 8.0]).map(lambda within_s: Uniformly(within_s=within_s)),
        st.builds(lambda per_s, from_s: PoissonArrivals(per_s=per_s, from_s=from_s), st.just(2.0), st.sampled_from([0.0, 3.0])),
        st.builds(lambda at_s, delay: FlashCrowd(at_s=at_s, delay=delay), st.sampled_from([0.0, 4.0]), distributions(0.1, 1.0)),
        times.map(lambda times_s: RecordedArrivals(times_s=times_s)),
    )


def stays() -> st.SearchStrategy[Stay]:
    """How long visits last, and how often they are repeated."""
    return st.builds(
        lambda lasts, away, visits: Stay(lasts=lasts, away=away, visits=visits),
        distributions(3.0, 30.0),
        distributions(2.0),
        st.integers(1, 2),
    )


@st.composite
def availabilities(draw: st.DrawFn) -> Availability:
    """Uptimes and downtimes of links: every process, for seconds."""
    words = {"scope": draw(st.sampled_from(["client", "shared"])), "effect": draw(st.sampled_from(["outage", "cut"]))}
    match draw(st.sampled_from(["alternating", "markov", "periodic", "recorded"])):
        case "alternating":
            return AlternatingRenewal(up=draw(distributions(3.0, 10.0)), down=draw(distributions(0.3, 2.0)), **words)  # type: ignore[arg-type]
        case "markov":
            return OnOffMarkov(up_mean_s=draw(st.sampled_from([3.0, 10.0])), down_mean_s=1.0, **words)  # type: ignore[arg-type]
        case "periodic":
            down_s, first_s = draw(st.sampled_from([0.1, 2.0])), draw(st.sampled_from([0.0, 4.0]))
            return PeriodicAvailability(period_s=6.0, down_s=down_s, first_down_s=first_s, **words)  # type: ignore[arg-type]
        case _:
            times = draw(st.lists(st.integers(0, 190), min_size=2, max_size=6, unique=True).map(sorted))
            pairs = zip(times[::2], times[1::2], strict=False)
            outages = tuple((begins / 10, ends / 10) for begins, ends in pairs)
            return RecordedAvailability(outages=outages, **words)  # type: ignore[arg-type]
