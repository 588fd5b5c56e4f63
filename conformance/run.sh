#!/usr/bin/env bash
# Runs the black-box suites against the binary HERMOD_BIN and closes with
# "N passed, N failed" over all of them. CRASH_ROUNDS shortens or lengthens the
# crash suite. LOG_DIR keeps the full output of each suite.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${HERMOD_BIN:?name the binary}"
export HERMOD_BIN CRASH_ROUNDS=${CRASH_ROUNDS:-100}
logs=${LOG_DIR:-$(mktemp -d)}
mkdir -p "$logs"
[ -n "${LOG_DIR:-}" ] || trap 'rm -rf "$logs"' EXIT
passed=0 failed=0

# add NAME PASSED FAILED STATUS counts a suite; one that ended badly without a
# failed test counts as one failure.
add() {
	local f=$3
	[ "$4" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	passed=$((passed + $2)) failed=$((failed + f))
	echo "== $1: $2 passed, $f failed"
}

# suite NAME TIMEOUT runs a Go suite. Leaf tests and parents both count.
suite() {
	local status=0 p f s log=$logs/${1//\//-}.log
	(cd "$here/$1" && go test -count=1 -timeout "$2" -v .) >"$log" 2>&1 || status=$?
	p=$(grep -cE '^ *--- PASS' "$log")
	f=$(grep -cE '^ *--- FAIL' "$log")
	s=$(grep -cE '^ *--- SKIP' "$log")
	add "$1" "$p" "$f" "$status"
	grep -E 'published=|seed:|kills in|resident memory each|confirmed messages lost|disks forgot' "$log" | sed 's/^ *[a-z_]*\.go:[0-9]*: /   /'
	[ "$s" -eq 0 ] || { echo "   $s skipped:" && grep -A2 -E '^ *--- SKIP' "$log"; }
	if [ "$status" -ne 0 ]; then
		grep -E '^ *--- FAIL|^ +[a-z_]+\.go:[0-9]+:|^        |^panic|^FAIL|^stop:|ended' "$log" | head -300
	fi
}

suite amqp 20m
suite mqtt 20m
suite websocket 10m
suite stomp 10m
suite sqs 20m
suite sns 10m
suite tls 10m
suite interop 10m
suite openwire 20m
suite cluster/lossy 5m
suite cluster 35m
suite crash 60m
status=0
"$here/browser/run.sh" >"$logs/browser.log" 2>"$logs/browser.err" || status=$?
if grep -q '^no chromium' "$logs/browser.log" && [ "$status" -eq 0 ]; then
	echo "== browser: skipped, $(cat "$logs/browser.log")"
else
	read -r p f < <(sed -nE 's/^browser: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$logs/browser.log" | grep . || echo 0 1)
	add browser "$p" "$f" "$status"
	[ "$status" -eq 0 ] || tail -100 "$logs/browser.err"
fi
status=0
"$here/clients/run.sh" >"$logs/clients.log" 2>"$logs/clients.err" || status=$?
sed 's/^/   /' "$logs/clients.log"
read -r p f < <(sed -nE 's/^clients: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$logs/clients.log" | grep . || echo 0 1)
add clients "$p" "$f" "$status"
[ "$status" -eq 0 ] || tail -200 "$logs/clients.err"

echo "conformance: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
