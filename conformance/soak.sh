#!/usr/bin/env bash
# Runs the crash, cluster and AMQP suites in turn until SOAK (such as 90s, 30m,
# 8h) has passed, each time with another seed, and stops at the first failure.
# The cluster's turn is CLUSTER_SOAK (15m) of calm load and faults.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${HERMOD_BIN:?name the binary}"
export HERMOD_BIN CRASH_ROUNDS=${CRASH_ROUNDS:-200} CLUSTER_SOAK=${CLUSTER_SOAK:-15m}
limit=${SOAK:-1h}
case $limit in
*s) seconds=${limit%s} ;;
*m) seconds=$((${limit%m} * 60)) ;;
*h) seconds=$((${limit%h} * 3600)) ;;
*) echo "SOAK must end in s, m or h: $limit" >&2 && exit 2 ;;
esac
turns=0
while [ "$SECONDS" -lt "$seconds" ]; do
	(cd "$here/crash" && go test -count=1 -timeout 0 -v .) | grep -E 'seed:|published=|kills in|^(ok|FAIL)|never|lost'
	(cd "$here/cluster" && go test -count=1 -timeout 0 -run 'TestSoak|TestPowerCuts' -v .) | grep -E 'seed:|published=|phase|forgot|^(ok|FAIL)|lost|grew'
	(cd "$here/amqp" && go test -count=1 -timeout 30m .)
	turns=$((turns + 1))
done
echo "soak: $turns turns in ${SECONDS}s, 0 failed"
