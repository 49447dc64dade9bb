"""A real JupyterLab server of its own: own settings, own notebooks, a free port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

START_SECONDS = 120

FLAGS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--PasswordIdentityProvider.hashed_password=",
    "--ServerApp.disable_check_xsrf=True",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=",
    "--LabApp.extension_manager=readonly",
)

# No pop-ups over the notebook.
SETTINGS = {
    "apputils-extension/notification": {
        "checkForUpdates": False,
        "fetchNews": "false",
        "doNotDisturbMode": True,
    },
}


def free_port() -> int:
    """Give a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """JupyterLab with this environment's kernel, from construction until `close`.

    Args:
        folder: an empty folder; notebooks, settings and the log go below it.

    Raises:
        RuntimeError: when the server does not come up; the message holds its log.
    """

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        for name, values in SETTINGS.items():
            file = folder / "config/lab/user-settings/@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values), encoding="utf-8")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log: list[str] = []
        self._up = threading.Event()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", f"--port={port}"),
                *(f"--ServerApp.root_dir={self.notebooks}", *FLAGS),
            ],
            env=self._environment(folder),
            cwd=self.notebooks,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._up.wait(START_SECONDS) or self._process.poll() is not None:
            self.close()
            raise RuntimeError("JupyterLab did not start:\n" + "".join(self.log))

    @staticmethod
    def _environment(folder: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "JUPYTER_PATH"}
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "config/lab/user-settings",
            "JUPYTERLAB_WORKSPACES_DIR": "config/lab/workspaces",
            "IPYTHONDIR": "ipython",
        }
        # The user's own settings and start-up files must not reach the tests, nor the other way.
        return {**kept, **{name: str(folder / path) for name, path in own.items()}}

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if "is running at" in line:
                self._up.set()
        self._up.set()  # the process has ended: whoever waits need not wait longer

    def request(self, method: str, path: str) -> Any:
        """Call the server's REST interface; JSON answers come back decoded."""
        call = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        with urllib.request.urlopen(call, timeout=60) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_sessions(self) -> None:
        """End every session with its kernel: kernels outlive the page that started them."""
        for session in self.request("GET", "sessions"):
            self.request("DELETE", f"sessions/{session['id']}")

    def close(self) -> None:
        """Stop the server and all its kernels."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reader.join(10)
