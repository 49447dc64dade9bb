"""The harness itself, on a widget of ten lines."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import KernelError, LabPage

WIDGET = '''
import anywidget, traitlets

class Tiny(anywidget.AnyWidget):
    _esm = """
    export default { render({ model, el }) {
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 9 });
      slider.dataset.lmSuppressShortcuts = "true";
      const shown = document.createElement("output");
      const show = () => { slider.value = shown.value = String(model.get("value")); };
      slider.addEventListener("input", () => {
        model.set("value", Number(slider.value));
        model.save_changes();
      });
      model.on("change:value", show);
      show();
      el.append(slider, shown);
    } };
    """
    value = traitlets.Int(3).tag(sync=True)

tiny = Tiny()
tiny
'''


def test_a_slider_reaches_the_kernel(lab: LabPage) -> None:
    lab.open(WIDGET)
    lab.run_all()
    slider = lab.output(0).get_by_role("slider")
    expect(slider).to_have_value("3")
    lab.command_mode()
    slider.focus()
    with lab.traffic() as traffic:
        slider.press("ArrowRight")
    assert traffic.updates == [{"value": 4}]
    assert traffic.customs == []
    assert lab.evaluate("tiny.value") == 4


def test_the_kernel_reaches_the_slider(lab: LabPage) -> None:
    lab.open(WIDGET, "tiny.value = 7")
    lab.run_all()
    shown = lab.output(0).locator("output")
    expect(shown).to_have_text("7")
    with lab.traffic() as traffic:
        assert lab.execute("tiny.value = 8; print(tiny.value)") == "8\n"
        expect(shown).to_have_text("8")
    assert traffic.comm == []
    assert [message.state for message in traffic.received_comm] == [{"value": 8}]
    lab.reload()
    expect(shown).to_have_text("8")


def test_themes_and_pictures(lab: LabPage) -> None:
    lab.open("print('hello')")
    lab.run_all()
    for theme in ("dark", "light"):
        lab.theme(theme)
        assert lab.screenshot(f"smoke-{theme}", lab.output(0)).stat().st_size > 0


def test_errors_are_seen(lab: LabPage) -> None:
    lab.open("1 / 0")
    with pytest.raises(KernelError, match="ZeroDivisionError"):
        lab.run_all()
    with pytest.raises(KernelError, match="NameError"):
        lab.evaluate("nothing_of_this_name")
    lab.page.evaluate("console.error('on purpose')")
    with pytest.raises(AssertionError, match="on purpose"):
        lab.check_errors()
    lab.errors.clear()


def test_a_cell_keeps_running_while_the_page_works(lab: LabPage, tmp_path: Path) -> None:
    flag = tmp_path / "go on"
    lab.open(WIDGET, f"from pathlib import Path\nwhile not Path({str(flag)!r}).exists(): pass")
    lab.run_cell(0)
    lab.run_cell(1, wait=False)
    with lab.traffic() as traffic:
        lab.output(0).get_by_role("slider").fill("6")
    assert traffic.updates == [{"value": 6}]
    flag.touch()
    lab.wait_idle()
    assert lab.evaluate("tiny.value") == 6
