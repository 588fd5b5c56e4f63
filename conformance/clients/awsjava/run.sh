#!/usr/bin/env bash
# Builds the scenario with Maven in a copy of this folder and runs it. AWSJAVA_DIR
# keeps the copy for later runs (default: a temporary folder).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${AWSJAVA_DIR:-$(mktemp -d)}
[ -n "${AWSJAVA_DIR:-}" ] || trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir"
cp -r "$here/pom.xml" "$here/src" "$dir"
cd "$dir"
mvn -q -B --no-transfer-progress compile exec:java -Dexec.mainClass=conformance.Scenario
