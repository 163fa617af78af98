"""Profiles of Hypothesis: `fast` is the default and draws the same examples in every run, `thorough` is chosen with
`--hypothesis-profile thorough`, `mutation` repeats exactly and shrinks nothing. `python -m tests.explore` draws new examples. CI
adds that no test may be skipped there. The whole fast suite runs on all processors, whatever else in one process."""

import gc
import os
from collections.abc import Generator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from postgres_server import postgres_url, shared_postgres

__all__ = ["postgres_url", "shared_postgres"]  # fixtures

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "fast",
    max_examples=35,
    deadline=None,
    print_blob=True,
    derandomize=True,  # the README's command gives the same result everywhere; `tests.explore` generates other examples
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, print_blob=True, derandomize=False, suppress_health_check=_SLOW_IS_FINE
)

settings.register_profile(
    "mutation",
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=_SLOW_IS_FINE,
)


# Hypothesis also draws constants of all our modules that are imported, so what a test draws would depend on the tests that ran
# before it in its process. `tests.explore` keeps them.
providers._get_local_constants = lambda: providers.Constants()


FAST = "not slow"
"""The marker expression of the fast suite, as pyproject.toml gives it."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give the whole fast suite a process on each processor, with pytest-xdist, and one more: tests wait for databases.

    A selection of tests is done sooner in one process, which has no others to start. Slow tests measure, and a busy machine
    falsifies that. `-n` decides otherwise, and without the plugin (`-p no:xdist`) there is one process. The tests of one file
    stay together: many of them share a fixture or a cache.
    """
    option = config.option
    is_worker = hasattr(config, "workerinput")
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and option.markexpr == FAST and not option.keyword
    is_watched = option.usepdb or option.trace or option.capture == "no"
    is_open = getattr(option, "numprocesses", 0) is None and option.dist == "no"  # neither the plugin is missing, nor -n given
    processors = len(os.sched_getaffinity(0))
    if is_whole and is_open and processors > 1 and not (is_worker or is_watched or option.collectonly):
        option.numprocesses, option.dist = processors + 1, "loadfile"


def pytest_collection_finish() -> None:
    """Whatever was imported and collected stays; garbage collection need not look at it again with every test."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fast")


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """`serve_command` sets up logging for its process, which here has other tests, in any order of files."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


COVERED = "covered by another part of the same run"
"""The one reason with which a test may be skipped where everything must run (CI=true)."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if COVERED not in reason:
            report.outcome = "failed"
            report.longrepr = f"skipped where everything must run: {reason}"
    return report
