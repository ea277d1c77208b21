"""``--no-skips``: what CI runs with, so that nothing is skipped unnoticed."""

import pytest


def pytest_addoption(parser):
    """Adds the flag with which nothing is skipped unnoticed."""
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails")


def _fail_if_skipped(report, config):
    if config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"skipped, under --no-skips: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Turns a skipped test into a failure under ``--no-skips``."""
    report = yield
    _fail_if_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Turns a skipped file into a failure under ``--no-skips``."""
    report = yield
    _fail_if_skipped(report, collector.config)
    return report
