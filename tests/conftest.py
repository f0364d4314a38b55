"""Shared by all tests."""

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    """The agent runs on asyncio, so its tests do."""
    return "asyncio"


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Long values, such as keys made for the run, are no names: two processes that share the tests have others."""
    return argname if isinstance(val, str | bytes) and len(val) > 60 else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test in network namespaces skips, with the reason, where there are none."""
    if item.get_closest_marker("netns"):
        import lab

        reason = lab.available()
        if reason:
            pytest.skip(f"no network namespaces: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where they are required, as in CI, such a skip is a failure: else nobody would notice that they never run."""
    report = yield
    if report.skipped and item.get_closest_marker("netns") and os.environ.get("DFEDGE_REQUIRE_NETNS") == "1":
        report.outcome = "failed"
        report.longrepr = f"DFEDGE_REQUIRE_NETNS=1, but it was skipped: {_reason(report.longrepr)}"
    return report


def _reason(longrepr: Any) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
