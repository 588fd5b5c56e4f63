#!/usr/bin/env bash
# Runs every stock-client suite against one broker and prints what each says,
# then "N passed, N failed" over all of them.
#
#   AMQP_URL set:   that broker (HTTP_PORT: its management port, for the Go
#                   client's recovery tests)
#   otherwise:      hermod, the binary HERMOD_BIN, started here on free ports
#   CLIENTS:        which to run (default "go node java python celery stomppy stompjs debian mqtt boto3 botoquery awsjs awsjava celerysqs snsboto3 snsjs")
#
# With AMQP_URL, STOMP_ADDR (host:port) and STOMP_WS (a URL) name the STOMP
# listeners of that broker, AWS_ENDPOINT (a URL) its AWS services and OPENWIRE_URL
# its OpenWire listener; without them their clients are left out.
#
# A client whose runtime is missing is skipped, except in CI (CI=1), where it
# is a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
broker=
cleanup() {
	if [ -n "$broker" ]; then
		kill "$broker" 2>/dev/null || true
		wait "$broker" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

if [ -z "${AMQP_URL:-}" ]; then
	# Every listener there is, off; then those that the clients use.
	mapfile -t off < <("${HERMOD_BIN:?name the binary}" serve --print-config | sed -n 's/^\(listeners\..*address\)=.*/--set=\1=off/p')
	"$HERMOD_BIN" serve --data-dir "$work/data" "${off[@]}" --set listeners.amqp.address=127.0.0.1:0 \
		--set listeners.aws.address=127.0.0.1:0 --set listeners.openwire.address=127.0.0.1:0 --set listeners.stomp.address=127.0.0.1:0 --set listeners.stomp.websocket_address=127.0.0.1:0 --set limits.disk_free=1MiB \
		>"$work/out" 2>"$work/err" &
	broker=$!
	for _ in $(seq 600); do
		grep -q ready "$work/out" && break
		kill -0 "$broker" 2>/dev/null || break
		sleep 0.1
	done
	if ! grep -q ready "$work/out"; then
		echo "hermod did not become ready:" >&2
		cat "$work/out" "$work/err" >&2
		exit 1
	fi
	port() { sed -n "s/^listener $1 .*:\([0-9]*\)\$/\1/p" "$work/out" | head -1; }
	AMQP_URL="amqp://guest:guest@127.0.0.1:$(port amqp)/%2F"
	HTTP_PORT=$(port http)
	STOMP_ADDR=127.0.0.1:$(port stomp)
	STOMP_WS=ws://127.0.0.1:$(port stomp-websocket)/ws
	AWS_ENDPOINT=http://127.0.0.1:$(port aws)
	OPENWIRE_URL=tcp://127.0.0.1:$(port openwire)
fi
export AMQP_URL HTTP_PORT=${HTTP_PORT:-} STOMP_ADDR=${STOMP_ADDR:-} STOMP_WS=${STOMP_WS:-} AWS_ENDPOINT=${AWS_ENDPOINT:-} OPENWIRE_URL=${OPENWIRE_URL:-}

passed=0 failed=0
declare -A needs=([go]=go [node]=npm [java]=mvn [python]=python3 [celery]=python3 [stomppy]=python3 [stompjs]=npm [debian]=bash [mqtt]=npm [boto3]=python3 [botoquery]=python3 [awsjs]=npm [awsjava]=mvn [celerysqs]=python3 [snsboto3]=python3 [snsjs]=npm)
for client in ${CLIENTS:-go node java python celery stomppy stompjs debian mqtt boto3 botoquery awsjs awsjava celerysqs snsboto3 snsjs}; do
	if [[ $client == stomp* || $client == debian ]] && [ -z "$STOMP_ADDR" ]; then
		echo "$client: no STOMP listener named"
		continue
	fi
	if [[ $client == boto* || $client == awsj* || $client == celerysqs || $client == sns* ]] && [ -z "$AWS_ENDPOINT" ]; then
		echo "$client: no AWS endpoint named"
		continue
	fi
	if ! command -v "${needs[$client]}" >/dev/null; then
		echo "$client: no ${needs[$client]} here"
		[ -z "${CI:-}" ] || failed=$((failed + 1))
		continue
	fi
	case $client in
	python | celery | stomppy | boto3 | botoquery | celerysqs | snsboto3) command=("$here/venv.sh" "$client") ;;
	*) command=("$here/$client/run.sh") ;;
	esac
	status=0
	timeout 900 "${command[@]}" >"$work/$client.out" 2>"$work/$client.err" || status=$?
	line=$(grep -E ': [0-9]+ passed, [0-9]+ failed$' "$work/$client.out" | tail -1) || true
	echo "${line:-$client: no result}"
	counts=$(sed -nE 's/.*: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' <<<"$line")
	read -r p f <<<"${counts:-0 1}"
	[ "$status" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	passed=$((passed + p)) failed=$((failed + f))
	[ "$f" -eq 0 ] || cat "$work/$client.err" >&2
done
if [ -n "$broker" ] && ! kill -0 "$broker" 2>/dev/null; then
	echo "hermod ended during the run:" >&2
	tail -100 "$work/err" >&2
	failed=$((failed + 1))
fi
echo "clients: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
