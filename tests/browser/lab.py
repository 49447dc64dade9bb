"""JupyterLab as a person uses it, for tests: open a notebook, run it, ask its kernel.

Nothing here waits for a fixed time: every wait is for a condition, with a limit.
"""

from __future__ import annotations

import ast
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import ConsoleMessage, Locator, Page, WebSocket

from tests.browser.server import Server
from tests.browser.traffic import Frame, Traffic, parse

LIMIT = 60_000  # milliseconds

# The notebook in front, and a promise of a cell's or a request's end, in the page.
PANEL = "window.jupyterapp.shell.currentWidget"
KERNEL = f"{PANEL}.sessionContext.session.kernel"

READY = f"""() => {{
  const panel = window.jupyterapp?.shell?.currentWidget;
  return panel?.sessionContext?.isReady && panel.content?.widgets?.length > 0
    && {KERNEL}?.status === "idle" && {KERNEL}.connectionStatus === "connected";
}}"""

EXECUTE = f"""async ([code, expression]) => {{
  const future = {KERNEL}.requestExecute({{
    code, silent: false, store_history: false, allow_stdin: false, stop_on_error: false,
    user_expressions: expression ? {{ value: expression }} : {{}},
  }}, true);
  const output = [];
  future.onIOPub = (m) => {{ if (m.header.msg_type === "stream") output.push(m.content.text); }};
  const reply = await future.done;
  return {{ ...reply.content, output: output.join("") }};
}}"""

MARK = f"(code) => {{ {KERNEL}.requestExecute({{ code, silent: true, store_history: false }}); }}"


class KernelError(AssertionError):
    """Code run for a test raised; the message is its traceback's end."""


class LabPage:
    """One page of JupyterLab.

    Attributes:
        page: Playwright's page.
        errors: console errors and uncaught exceptions so far, oldest first.
    """

    def __init__(self, page: Page, server: Server, screenshots: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self._server = server
        self._screenshots = screenshots
        self._recorders: list[Traffic] = []
        self._socket: WebSocket | None = None
        page.set_default_timeout(LIMIT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("websocket", self._on_socket)

    # -- listening --------------------------------------------------------------------------

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text}  ({message.location.get('url', '')})")

    def _on_socket(self, socket: WebSocket) -> None:
        if "/channels" not in socket.url:
            return
        self._socket = socket
        socket.on("framesent", lambda frame: self._file(frame, False))
        socket.on("framereceived", lambda frame: self._file(frame, True))

    def _file(self, frame: Frame, received: bool) -> None:
        for recorder in self._recorders:
            recorder.listener(received)(frame)

    @contextmanager
    def traffic(self) -> Iterator[Traffic]:
        """Record the kernel's messages; when the block ends, all that were sent in it are in.

        Example:
            with lab.traffic() as traffic:
                slider.press("ArrowRight")
            assert traffic.comm == []
        """
        recorder = Traffic()
        self._barrier()
        self._recorders.append(recorder)
        try:
            yield recorder
            self._barrier()
        finally:
            self._recorders.remove(recorder)

    def _barrier(self) -> None:
        # Frames of a socket keep their order: once the mark has gone out, all before it have.
        mark = f"# {uuid.uuid4().hex}"
        assert self._socket is not None, "no kernel is connected"

        def is_mark(frame: Frame) -> bool:
            message = parse(frame)
            return message is not None and message.content.get("code") == mark

        with self._socket.expect_event("framesent", is_mark, timeout=LIMIT):
            self.page.evaluate(MARK, mark)

    # -- notebooks --------------------------------------------------------------------------

    def open(self, *cells: str, name: str | None = None, trusted: bool = True) -> None:
        """Write a notebook of these code cells and open it; its kernel is idle afterwards.

        Args:
            *cells: the source of each code cell.
            name: file name; a fresh one when not given.
            trusted: marks the cells as trusted, as a notebook made on this machine would be.
        """
        name = name or f"{uuid.uuid4().hex[:8]}.ipynb"
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{index}",
                    "metadata": {"trusted": trusted},
                    "source": source,
                    "outputs": [],
                    "execution_count": None,
                }
                for index, source in enumerate(cells)
            ],
        }
        file = self._server.notebooks / name
        file.write_text(json.dumps(notebook), encoding="utf-8")
        self.goto(name)

    def goto(self, name: str) -> None:
        """Open a notebook of the server's folder in a fresh workspace."""
        self.page.goto(f"{self._server.url}/lab/tree/{name}?reset")
        self.wait_ready()

    def reload(self) -> None:
        """Reload the page; the kernel lives on."""
        self.save()
        self.page.reload()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the notebook is shown and its kernel is connected and idle."""
        self.page.wait_for_function(READY)

    def wait_idle(self) -> None:
        """Wait until the kernel is idle and no cell is waiting to run."""
        self.wait_ready()
        self.page.wait_for_function("() => !document.querySelector('.jp-Notebook .jp-mod-running')")

    def save(self) -> None:
        """Save the notebook."""
        self.command("docmanager:save")

    def run_all(self) -> None:
        """Run every cell, wait for the end, and fail with the traceback if one raised."""
        self.command("notebook:run-all-cells")
        self.wait_idle()
        self.check_outputs()

    def run_cell(self, index: int, wait: bool = True) -> None:
        """Run one cell by its place; without ``wait`` come back while it runs."""
        self.page.evaluate(f"(i) => {{ {PANEL}.content.activeCellIndex = i; }}", index)
        if wait:
            self.command("notebook:run-cell")
            self.wait_idle()
            self.check_outputs()
        else:
            self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
            self.page.wait_for_function(f"() => {KERNEL}.status === 'busy'")

    def check_outputs(self) -> None:
        """Fail with the traceback if a cell's output is an error."""
        found: list[str] = self.page.evaluate(
            f"""() => [...{PANEL}.content.model.cells].flatMap((cell) =>
              (cell.toJSON().outputs ?? []).filter((o) => o.output_type === "error")
                .map((o) => o.traceback.join("\\n")))"""
        )
        if found:
            raise KernelError("\n".join(found))

    def command(self, name: str, **arguments: Any) -> None:
        """Execute one of JupyterLab's commands and wait for its end."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }",
            [name, arguments],
        )

    # -- the kernel -------------------------------------------------------------------------

    def _execute(self, code: str, expression: str) -> dict[str, Any]:
        reply: dict[str, Any] = self.page.evaluate(EXECUTE, [code, expression])
        if reply["status"] != "ok":
            raise KernelError(f"{reply.get('ename')}: {reply.get('evalue')}\nin: {code}")
        return reply

    def execute(self, code: str) -> str:
        """Run statements in the notebook's kernel, outside any cell; give what they printed.

        Waits for a running cell to end, as every execution does.
        """
        return str(self._execute(code, "")["output"])

    def evaluate(self, expression: str) -> Any:
        """Give the value of a Python expression in the kernel (anything JSON can carry)."""
        wrapped = f"__import__('json').dumps({expression})"
        value = self._execute("", wrapped)["user_expressions"]["value"]
        if value["status"] != "ok":
            raise KernelError(f"{value['ename']}: {value['evalue']}\nin: {expression}")
        return json.loads(ast.literal_eval(value["data"]["text/plain"]))

    # -- looking ----------------------------------------------------------------------------

    def output(self, index: int) -> Locator:
        """Give the output area of the code cell at this place."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".jp-OutputArea")

    def command_mode(self) -> None:
        """Leave the cell editor, so that keys are the notebook's commands."""
        self.command("notebook:enter-command-mode")
        self.page.wait_for_function(
            "() => !!document.querySelector('.jp-Notebook.jp-mod-commandMode')"
        )

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Switch JupyterLab's theme and wait until the page shows it."""
        title = f"JupyterLab {name.capitalize()}"
        self.command("apputils:change-theme", theme=title)
        self.page.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light",
            arg=str(name == "light").lower(),
        )

    def screenshot(self, name: str, part: Locator | None = None) -> Path:
        """Save a picture of the page, or of a part of it, as ``name``.png; give its path."""
        path = self._screenshots / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if part is None:
            self.page.screenshot(path=path)
        else:
            part.screenshot(path=path)
        return path

    def check_errors(self) -> None:
        """Fail if the page logged an error."""
        assert not self.errors, "errors in the browser's console:\n" + "\n".join(self.errors)
