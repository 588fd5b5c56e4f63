#!/usr/bin/env bash
# Runs the scenario of a folder in a Python environment of its own:
#   venv.sh python|celery
# VENV_DIR keeps the environment for later runs (default: a temporary one).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV_DIR:-$(mktemp -d)}/$1
[ -n "${VENV_DIR:-}" ] || trap 'rm -rf "$(dirname "$venv")"' EXIT
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -r "$here/$1/requirements.txt"
cd "$here/$1"
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" scenario.py
