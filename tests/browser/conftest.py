"""Fixtures: one JupyterLab server and one browser a session, a fresh page and kernel a test.

`XAIWIDGETS_SCREENSHOTS` names a folder for screenshots; without it they go to pytest's own.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.find_browser import find_browser
from tests.browser.lab import LabPage
from tests.browser.server import Server

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure, so that the page's fixture takes a picture of it."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder as a browser test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A JupyterLab server for the whole session."""
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium for the whole session."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that screenshots go to."""
    named = os.environ.get("XAIWIDGETS_SCREENSHOTS")
    return Path(named).resolve() if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def lab(
    request: pytest.FixtureRequest, server: Server, browser: Browser, screenshots: Path
) -> Iterator[LabPage]:
    """A fresh page; afterwards it must have logged no error, and its kernels are ended.

    A test that provokes errors on purpose clears ``lab.errors``.
    """
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = LabPage(context.new_page(), server, screenshots)
    yield page
    try:
        if request.node.stash.get(FAILED, False):
            print("picture of the failure:", page.screenshot(f"failed-{request.node.name}"))
        else:
            page.check_errors()
    finally:
        context.close()
        server.end_sessions()
