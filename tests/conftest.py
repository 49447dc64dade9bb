"""What holds for every test: no display, steady examples, and nothing skipped in silence."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# A shared machine is slow at times; a deadline would turn that into a failure.
settings.register_profile("suite", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("suite")

GPU = torch.cuda.is_available()
# Nothing there can run without one; the head of a run says so.
collect_ignore = [] if GPU else ["gpu"]


def pytest_report_header() -> str:
    """Say what is not tested on this machine."""
    return "tests/gpu: " + (torch.cuda.get_device_name(0) if GPU else "left out, no NVIDIA GPU")


@pytest.fixture(scope="module", autouse=True)
def forget_networks() -> Iterator[None]:
    """Networks that a file's tests share go with it: those of all files take 20 GB."""
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith(("tests.", "benchmarks.")):
            for each in list(vars(module).values()):
                if isinstance(each, functools._lru_cache_wrapper):
                    each.cache_clear()


def _skipped(config: pytest.Config) -> int:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if reporter else 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a run with a skipped test fail: what is not tested must be seen."""
    if _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why such a run failed."""
    if count := _skipped(terminalreporter.config):
        terminalreporter.write_line(f"{count} skipped: tests here run or fail", red=True)
