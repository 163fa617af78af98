"""Profiles of Hypothesis: `fast` is the default and draws the same examples in every run, `thorough` is chosen with
`--hypothesis-profile thorough`, `mutation` repeats exactly and shrinks nothing. `python -m tests.explore` draws new examples. CI
adds that no test may be skipped there."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, Phase, settings
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


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fast")


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
