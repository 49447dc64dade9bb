"""axe-core, the accessibility checker, on a part of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator

SCRIPT = Path(__file__).parents[2] / "js/node_modules/axe-core/axe.min.js"
GRAVE = ("serious", "critical")
# The page's AMD loader would take the script for a module of its own.
INJECT = "(source) => { (new Function('define', 'module', 'exports', source)).call(window); }"
RUN = """async (part) => {
  const found = await window.axe.run(part, { resultTypes: ["violations"] });
  return found.violations.map(({ id, impact, help, nodes }) => ({
    id, impact, help, nodes: nodes.map((node) => `${node.html}\\n    ${node.failureSummary}`),
  }));
}"""


def violations(part: Locator) -> list[str]:
    """Describe what axe-core finds below ``part`` that is serious or critical."""
    if not part.page.evaluate("() => 'axe' in window"):
        part.page.evaluate(INJECT, SCRIPT.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = part.evaluate(RUN)
    return [
        f"{rule['impact']} {rule['id']}: {rule['help']}\n    " + "\n    ".join(rule["nodes"])
        for rule in found
        if rule["impact"] in GRAVE
    ]
