#!/usr/bin/env bash
# Installs the SDKs beside a copy of the scenario and runs it. NODE_DIR keeps
# the installation for later runs (default: a temporary folder).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${NODE_DIR:-$(mktemp -d)}
[ -n "${NODE_DIR:-}" ] || trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir"
cp "$here/package.json" "$here/scenario.js" "$dir"
cd "$dir"
npm install --silent --no-audit --no-fund --no-package-lock >/dev/null 2>&1 || npm install --no-audit --no-fund --no-package-lock
node scenario.js
