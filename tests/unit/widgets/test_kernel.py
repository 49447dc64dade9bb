"""In a real kernel: notebooks, scripts, and messages that arrive while a cell runs."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

PATIENCE = 120.0

SETUP = """
import numpy as np
import torch
from torch import nn
import xaiwidgets as xai
torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                    nn.Linear(4, 7))
model = xai.Model(net, {"size": (24, 20)}, list("abcdefg"), "cpu", name="toy")
photo = (np.random.default_rng(0).random((40, 50, 3)) * 255).astype(np.uint8)
"""


def test_notebook_keeps_the_result(tmp_path: Any) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(SETUP),
        nbformat.v4.new_code_cell("w = xai.SmoothGrad(model, photo, samples=6)\nw.wait(60)\nw"),
        nbformat.v4.new_code_cell("w.noise = 0.3\nw.wait(60)\nw.result.params['noise']"),
    ]
    resources = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, timeout=PATIENCE, resources=resources).execute(env=_environment())
    shown = notebook.cells[1].outputs[0].data
    assert shown["text/plain"].startswith("SmoothGrad(toy")
    assert "image/png" in shown
    assert notebook.cells[2].outputs[0].data["text/plain"] == "0.3"
    model_id = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    saved = states[model_id]
    assert saved["state"]["_result_info"]["params"]["noise"] == 0.3
    assert ["_result"] in [buffer["path"] for buffer in saved["buffers"]]


@pytest.mark.parametrize("last", ["w.wait(60)\nassert w.result is not None", "del w"])
def test_script_ends_cleanly(last: str, tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{SETUP}\nw = xai.SmoothGrad(model, photo, samples=500)\n{last}\n")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=_environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}


class Front:
    """The part of JupyterLab that matters here: a subshell for the messages of widgets."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.seen: list[dict[str, Any]] = []

    def execute(self, code: str) -> str:
        return str(self.client.execute(code, store_history=False))

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            self.seen.append(message)
            if message["msg_type"] == "error":
                raise AssertionError("\n".join(message["content"]["traceback"]))
            if wanted(message):
                return message
        raise AssertionError("the kernel did not say it in time")

    def finish(self, request: str) -> None:
        self.until(
            lambda m: (
                m["parent_header"].get("msg_id") == request
                and m["content"].get("execution_state") == "idle"
            )
        )

    def open_subshell(self) -> str:
        session = self.client.session
        message = session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        while True:
            reply = self.client.control_channel.get_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == message["msg_id"]:
                return str(reply["content"]["subshell_id"])

    def send(self, comm: str, subshell: str, data: dict[str, Any]) -> None:
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=_environment())
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE)
    yield Front(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _changes(comm: str, name: str, value: Any) -> Callable[[dict[str, Any]], bool]:
    def wanted(message: dict[str, Any]) -> bool:
        content = message["content"]
        data = content.get("data") or {}
        return bool(
            message["msg_type"] == "comm_msg"
            and content["comm_id"] == comm
            and data.get("method") == "update"
            and data["state"].get(name) == value
        )

    return wanted


def test_slider_and_cancel_are_answered_while_a_cell_runs(front: Front) -> None:
    front.finish(front.execute(SETUP))
    made = front.execute("w = xai.SmoothGrad(model, photo, samples=4); w.wait(60)")
    opened = front.until(
        lambda m: m["msg_type"] == "comm_open" and "_kind" in m["content"]["data"]["state"]
    )
    comm = opened["content"]["comm_id"]
    front.finish(made)
    subshell = front.open_subshell()
    ready = {"method": "custom", "content": {"kind": "ready"}}
    front.send(comm, subshell, ready)
    front.until(
        lambda m: m["msg_type"] == "comm_msg" and m["content"]["data"].get("method") == "custom"
    )
    # The cell itself asks for a long job, and goes on until it is told that the job has ended.
    busy = front.execute(
        "import threading\n"
        "gone = threading.Event()\n"
        "w.samples = 500; w.base = 'integrated_gradients'; w.base_steps = 128\n"
        "w.observe(lambda change: change['new'] == 'idle' and gone.set(), 'status')\n"
        "assert gone.wait(60)\n"
    )
    front.until(_changes(comm, "status", "running"))
    front.send(comm, subshell, {"method": "update", "state": {"_cancel": 1}, "buffer_paths": []})
    front.until(_changes(comm, "status", "idle"))
    front.finish(busy)
    # And a slider, while another cell waits for what it brings.
    busy = front.execute(
        f"got = threading.Event(); w.base = 'saliency'; w.samples = 4; w.observe("
        f"lambda change: got.set(), '_result_info')\n"
        f"while w.result.params['noise'] != 0.37: assert got.wait(60); got.clear()\n"
        f"'{uuid.uuid4()}'"
    )
    front.until(_changes(comm, "samples", 4))
    state = {"noise": 0.37}
    front.send(comm, subshell, {"method": "update", "state": state, "buffer_paths": []})
    front.finish(busy)
