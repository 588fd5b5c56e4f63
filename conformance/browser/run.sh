#!/usr/bin/env bash
# Drives a page in headless Chromium against the binary HERMOD_BIN and prints
# "browser: N passed, N failed". Chromium is installed (Debian's package) when
# it is missing and we may; CHROMIUM names another one. Without a browser or
# node the suite is skipped, except in CI (CI=1), where that is a failure.
set -euo pipefail
cd "$(dirname "$0")"
: "${HERMOD_BIN:?name the binary}"
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
if [ -z "$chromium" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium openssl; } >&2
	chromium=$(command -v chromium || true)
fi
if [ -z "$chromium" ] || ! command -v npm >/dev/null; then
	echo "no chromium or npm here"
	[ -z "${CI:-}" ]
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp package.json browser.js "$work"
(cd "$work" && npm install --no-audit --no-fund --no-package-lock --silent) >&2
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
	-keyout "$work/server.key" -out "$work/server.pem" 2>/dev/null
cd "$work"
CHROMIUM=$chromium WORK=$work node browser.js
