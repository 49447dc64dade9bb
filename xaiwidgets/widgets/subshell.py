"""Which of the kernel's shells is answering.

A kernel with subshells takes a widget's next message where the last one was sent from. A widget
that was made in a cell and has not sent anything since would have its first message wait for
whatever cell is running; it says hello from the subshell as soon as it hears from there.
"""

from __future__ import annotations

import sys


def current_subshell() -> str | None:
    """The subshell whose message is being handled; `None` for the main shell, or elsewhere."""
    module = sys.modules.get("ipykernel.kernelbase")
    if module is None or not module.Kernel.initialized():
        return None
    parent = module.Kernel.instance().get_parent() or {}
    subshell: str | None = (parent.get("header") or {}).get("subshell_id")
    return subshell
