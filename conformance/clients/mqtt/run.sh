#!/usr/bin/env bash
# MQTT's stock clients from their registries: MQTT.js, Paho's JavaScript and Python
# clients. Paho's Go clients drive conformance/mqtt. MQTT_PORT and MQTT_WS_PORT name
# a broker on MQTT_HOST that admits clients without a user name; without them hermod,
# the binary HERMOD_BIN, is started here. MQTT_CLIENTS_DIR keeps the installations
# for later runs. Closes with "mqtt: N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
dir=${MQTT_CLIENTS_DIR:-$work/clients}
broker=
cleanup() {
	if [ -n "$broker" ]; then
		kill "$broker" 2>/dev/null || true
		wait "$broker" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT

if [ -z "${MQTT_PORT:-}" ]; then
	mapfile -t off < <("${HERMOD_BIN:?name the binary}" serve --print-config | sed -n 's/^\(listeners\.[a-z.]*address\)=.*/--set=\1=off/p' | grep -v '\.mqtt\.')
	"$HERMOD_BIN" serve --data-dir "$work/data" "${off[@]}" --set auth.anonymous=on --set limits.disk_free=1MiB \
		--set listeners.mqtt.address=127.0.0.1:0 --set listeners.mqtt.websocket_address=127.0.0.1:0 >"$work/out" 2>"$work/err" &
	broker=$!
	for _ in $(seq 300); do
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
	MQTT_PORT=$(port mqtt) MQTT_WS_PORT=$(port mqtt-websocket)
fi
export MQTT_HOST=${MQTT_HOST:-127.0.0.1} MQTT_PORT MQTT_WS_PORT

status=0
mkdir -p "$dir"
cp "$here/package.json" "$here/scenario.js" "$dir"
[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2
(cd "$dir" && npm install --silent --no-audit --no-fund --no-package-lock >&2)
(cd "$dir" && node scenario.js) >"$work/results" || status=1
PYTHONDONTWRITEBYTECODE=1 "$dir/venv/bin/python" "$here/scenario.py" >>"$work/results" || status=1
sed 's/^/   /' "$work/results" >&2
awk '/: [0-9]+ passed, [0-9]+ failed$/ { p += $(NF-3); f += $(NF-1); n++ }
	END { if (n < 4) f++; printf "mqtt: %d passed, %d failed\n", p, f }' "$work/results"
exit $status
