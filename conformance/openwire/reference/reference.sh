#!/usr/bin/env bash
# Runs Debian's ActiveMQ (package activemq) for the suite.
#
#   reference.sh DIR start | kill | pid
#
# start returns when it serves; kill sends SIGKILL; pid prints the process id.
# OPENWIRE_PORT and STOMP_PORT are the ports (default 25616, 25613). DIR holds
# data, log and pid. No MQTT: the library it needs is not packaged.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?name a folder} what=${2:?start, kill or pid}
openwire=${OPENWIRE_PORT:-25616} stomp=${STOMP_PORT:-25613}

end() {
	local pid
	pid=$(cat "$dir/pid" 2>/dev/null) || return 0
	kill -9 "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
	rm -f "$dir/pid"
}

begin() {
	mkdir -p "$dir"
	cat >"$dir/log4j.properties" <<-LOG
		log4j.rootLogger=INFO, out
		log4j.appender.out=org.apache.log4j.ConsoleAppender
		log4j.appender.out.layout=org.apache.log4j.PatternLayout
		log4j.appender.out.layout.ConversionPattern=%d %p %c{1} %m%n
	LOG
	setsid java -Xmx1g -cp "$dir:/usr/share/activemq/lib/*:/usr/share/activemq/lib/optional/*" \
		-Dlog4j.configuration=file:"$dir/log4j.properties" \
		-Dreference.dir="$dir" -Dreference.openwire="$openwire" -Dreference.stomp="$stomp" \
		-Dactivemq.home=/usr/share/activemq -Dactivemq.base="$dir" -Dactivemq.data="$dir/data" \
		org.apache.activemq.console.Main start "xbean:file:$here/activemq.xml" \
		>>"$dir/log" 2>&1 </dev/null &
	echo $! >"$dir/pid"
	for _ in $(seq 600); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$openwire") 2>/dev/null; then return; fi
		kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
		sleep 0.1
	done
	tail -20 "$dir/log" >&2
	return 1
}

case $what in
start) begin ;;
kill) end ;;
pid) cat "$dir/pid" ;;
*) echo "unknown: $what" >&2 && exit 2 ;;
esac
