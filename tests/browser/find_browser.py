"""Find a Chromium-like browser, or install one.

Taken in this order: ``$CHROME``; chromium or Google Chrome on the PATH; the one that Playwright
has downloaded before. Else one is installed: with apt-get (Debian, as root) or by Playwright.

``python -m tests.browser.find_browser`` prints the path of the program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_SECONDS = 900
ADVICE = (
    "No browser for the tests. Install Chromium or Google Chrome so that it is on the PATH, or "
    "name the program: CHROME=/path/to/chrome make test"
)


class BrowserError(RuntimeError):
    """No usable browser; the message says what to do."""


def works(program: str | None) -> bool:
    """Tell whether ``program`` starts: distributions ship stand-ins that only print advice."""
    if not program:
        return False
    try:
        command = [program, "--version"]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def on_path() -> str | None:
    """Give the first working browser on the PATH."""
    return next((found for name in NAMES if works(found := shutil.which(name))), None)


def of_playwright() -> str | None:
    """Give the browser that Playwright has downloaded, if it has."""
    # In a process of its own: Playwright's loop must not linger in a test session.
    code = (
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as p: print(p.chromium.executable_path)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return found if found and Path(found).is_file() and works(found) else None


def attempt(*commands: list[str]) -> None:
    """Run the commands until one fails; their output goes to stderr as it comes."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in commands:
        print("installing a browser:", " ".join(command), file=sys.stderr, flush=True)
        try:
            run = subprocess.run(
                command, env=environment, stdout=2, timeout=INSTALL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            return
        if run.returncode:
            return


def install() -> str | None:
    """Install a browser by whatever this machine allows and give its path."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    release = Path("/etc/os-release")
    lines = release.read_text(encoding="utf-8").splitlines() if release.is_file() else []
    # Only Debian's own package is the browser; Ubuntu's is a stand-in that wants a snap daemon.
    if root and "ID=debian" in lines and shutil.which("apt-get"):
        quiet = ["apt-get", "-q", "-y"]
        attempt([*quiet, "update"], [*quiet, "install", "--no-install-recommends", "chromium"])
        if found := on_path():
            return found
    with_libraries = ["--with-deps"] if root else []
    attempt([sys.executable, "-m", "playwright", "install", *with_libraries, "chromium"])
    return of_playwright()


def find_browser() -> str:
    """Give the path of a browser that starts, installing one when there is none.

    Raises:
        BrowserError: when there is none and none can be installed, or ``$CHROME`` does not start.
    """
    named = os.environ.get("CHROME")
    if named:
        program = shutil.which(named)
        if program and works(program):
            return program
        raise BrowserError(f"CHROME={named!r} is not a browser that starts on this machine.")
    found = on_path() or of_playwright() or install()
    if not found:
        raise BrowserError(ADVICE)
    return found


if __name__ == "__main__":
    try:
        print(find_browser())
    except BrowserError as error:
        sys.exit(str(error))
