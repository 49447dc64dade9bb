#!/bin/sh
# Create the virtual environment $1 with $PYTHON, else python3; say what is missing when it can't.
set -u
folder=$1
python=${PYTHON:-python3}

fail() {
    printf '\n%s\n' "$*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "There is no '$python'. Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version 2>&1) is too old: Python 3.10 or newer is needed. Name one: make PYTHON=/path/to/python"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "This Python has no venv or pip. On Debian or Ubuntu: apt install python3-venv"
echo "== creating $folder with $("$python" --version 2>&1)"
"$python" -m venv "$folder" || { rm -rf "$folder"; fail "$python could not create $folder."; }
