"""State that outlives a page, is shared by views, and can be stopped at any time."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab import LabPage
from tests.browser.widgets import CALLS, HEAD, WidgetPage


def test_two_views_mirror(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["integrated_gradients"], "w")
    other = lab.output(2).locator(".xai-root")
    other.wait_for()
    # What the kernel knows, and what only the page knows: both views show both.
    page.slider("Alpha").evaluate(
        """(slider) => { slider.value = "0.4";
          slider.dispatchEvent(new Event("input", { bubbles: true })); }"""
    )
    expect(page.slider("Alpha", other)).to_have_value("0.4")
    page.root.get_by_role("button", name="Absolute value").click()
    expect(other.get_by_role("button", name="Absolute value")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.slider("Steps", other).press("ArrowLeft")
    expect(page.slider("Steps")).to_have_value("11")
    page.wait()
    assert page.get("w.result.params['steps']") == 11
    other.scroll_into_view_if_needed()
    for index in range(3):
        assert len({page.picture(index, root) for root in (page.root, other)}) == 1


def test_reload_restores_the_last_result(lab: LabPage) -> None:
    for kind in ("integrated_gradients", "occlusion", "deep_dream"):
        page = WidgetPage(lab, CALLS[kind])
        if kind == "integrated_gradients":
            lab.execute("w.alpha = 0.5")
            expect(page.slider("Alpha")).to_have_value("0.5")
        lab.page.mouse.move(2, 2)
        before = page.pictures()
        lab.reload()
        page.root.wait_for()
        for index, picture in enumerate(before):
            lab.page.wait_for_function(
                "([canvas, before]) => canvas.toDataURL() === before",
                arg=[page.root.locator("canvas.xai-canvas").nth(index).element_handle(), picture],
            )
        expect(page.root.locator(".xai-lost")).to_be_hidden()


def test_cancel_while_another_cell_runs(lab: LabPage) -> None:
    busy = """
import threading
runs = globals().get("runs", 0) + 1
stop = threading.Event()
w.observe(lambda change: change["new"] == 1 and stop.set(), "samples")
if runs > 1:  # the first run is that of the whole notebook
    stop.wait(120)
"""
    page = WidgetPage(lab, "xai.SmoothGrad(model, photo, samples=4)", busy)
    lab.run_cell(2, wait=False)
    # A long run, started from the page and stopped from the page, while the cell is busy.
    page.slider("Samples").press("End")
    cancel = page.root.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    expect(page.root.locator(".xai-status-text")).to_have_text(re.compile(r"\d+ of 500"))
    cancel.click()
    expect(cancel).to_be_hidden()
    expect(page.root.locator(".xai-status-text")).to_have_text(re.compile("cancel", re.I))
    # And the other cell is still running.
    prompt = lab.page.locator(".jp-CodeCell").nth(2).locator(".jp-InputPrompt")
    expect(prompt).to_have_text("[*]:")
    # Usable afterwards; and it is this change that lets the cell end.
    page.slider("Samples").press("Home")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]:"))
    page.wait()
    assert page.get("w.result.params['samples']") == 1


def test_error_is_shown_and_gone_again(lab: LabPage) -> None:
    setup = f"""{HEAD}
def broken(*args, **kwargs):
    raise RuntimeError("the network fell over")
"""
    page = WidgetPage(lab, CALLS["occlusion"], setup=setup)
    lab.execute("whole, model.logits = model.logits, broken")
    page.slider("Patch size").press("ArrowRight")
    alert = page.root.get_by_role("alert")
    expect(alert).to_contain_text("the network fell over")
    alert.get_by_text("Details").click()
    expect(alert.locator("pre")).to_contain_text("Traceback")
    lab.execute("model.logits = whole")
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_be_hidden()
    page.wait()
    assert page.get("w.result.params['patch_size']") == 65


def test_forged_message_is_refused(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["smoothgrad"])
    forge = """async (state) => {
      const manager = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")];
      const panel = window.jupyterapp.shell.currentWidget;
      const kernel = panel.sessionContext.session.kernel;
      const future = kernel.requestExecute({ code: "", user_expressions: {
        id: "w.model_id" } });
      const reply = await future.done;
      const id = reply.content.user_expressions.id.data["text/plain"].slice(1, -1);
      kernel.sendShellMessage ??= null;
      const { KernelMessage } = { KernelMessage: null };
      const message = {
        channel: "shell", buffers: [], metadata: {}, parent_header: {},
        header: { msg_id: crypto.randomUUID(), msg_type: "comm_msg", session: kernel.clientId,
          username: "", version: "5.3", date: new Date().toISOString() },
        content: { comm_id: id, data: { method: "update", state, buffer_paths: [] } },
      };
      kernel.sendShellMessage(message, false);
    }"""
    for state in ({"noise": -3}, {"samples": 10**9}, {"noise": "lots"}, {"_result": "x"}):
        lab.page.evaluate(forge, state)
        expect(page.root.get_by_role("alert")).to_be_visible()
        assert page.get("[w.noise, w.samples]") == [0.15, 8]
        page.slider("Noise").press("ArrowRight")
        page.slider("Noise").press("ArrowLeft")
        page.wait()
        expect(page.root.get_by_role("alert")).to_be_hidden()


def _noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 140, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


GIVE = """(element, [event, bytes, name]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const kinds = event === "paste" ? ["paste"] : ["dragenter", "dragover", "drop"];
  for (const kind of kinds) {
    const made = kind === "paste"
      ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
      : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
    element.dispatchEvent(made);
  }
}"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_photo_dropped_or_pasted(lab: LabPage, event: str) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    before = page.picture()
    canvas = page.root.locator("canvas.xai-canvas").first
    canvas.focus()
    canvas.evaluate(GIVE, [event, list(_noise()), "given.png"])
    expect(page.root.get_by_text("given.png")).to_be_visible()
    page.wait()
    page.expect_change(before)
    assert page.get("w.image.size") == [140, 90]
    expect(page.root).not_to_have_class(re.compile("xai-drop"))
    # JupyterLab, which takes files and pastes cells itself, must not have heard of it.
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == 2


def test_another_photo(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    before = page.picture()
    chooser = page.root.locator("input[type=file]")
    chooser.set_input_files({"name": "noise.png", "mimeType": "image/png", "buffer": _noise()})
    expect(page.root.get_by_text("noise.png")).to_be_visible()
    page.wait()
    page.expect_change(before)
    assert page.get("w.image.size") == [140, 90]
    # What is no photo is refused, and the one there stays.
    chooser.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"not a picture"})
    expect(page.root.get_by_role("alert")).to_contain_text("not an image")
    expect(page.root.get_by_text("noise.png")).to_be_visible()


def test_save_png(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["occlusion"])
    with lab.page.expect_download() as download:
        page.root.get_by_role("button", name="Save PNG").click()
    assert download.value.suggested_filename == "occlusion.png"
    with Image.open(download.value.path()) as saved:
        assert saved.height >= 448
        assert saved.width > 2 * 448
        assert len(saved.convert("RGB").resize((64, 32)).getcolors(4096) or []) > 50


def test_dream_pauses_resumes_and_goes_back(lab: LabPage) -> None:
    page = WidgetPage(lab, CALLS["deep_dream"])
    pause = page.root.get_by_role("button", name="Pause")
    expect(pause).to_be_disabled()
    lab.execute("w.iterations = 150")
    pause.click()
    resume = page.root.get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    resume.click()
    page.wait()
    assert page.get("len(w.result.objective)") == 150
    page.root.get_by_role("button", name="10 more").click()
    page.wait()
    assert page.get("[w.iterations, len(w.result.objective)]") == [160, 160]
    expect(page.slider("Iterations")).to_have_value("160")
    last = page.picture()
    with lab.traffic() as traffic:
        page.slider("Iterations").evaluate(
            """(slider) => { slider.value = "3";
              slider.dispatchEvent(new Event("input", { bubbles: true })); }"""
        )
        page.expect_change(last)
    # Older frames may still be coming in, and are acknowledged; nothing was asked for.
    asked = [m for m in traffic.comm if m.channel == "shell" and m.custom.get("kind") != "ack"]
    assert asked == []
