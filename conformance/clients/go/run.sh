#!/usr/bin/env bash
# Runs the Go client's own integration tests, as they come with its module,
# from a copy of the module. RUN limits them, like go test -run.
# HTTP_PORT is the management API's port on the loopback interface, which the
# client's recovery tests use to drop connections; the module names 15672.
# Without it those tests are left out, and the closing line says so.
# deviations.txt lists tests that are left out, each with its reason.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=v1.16.0
src=$(cd "$here/../../amqp" && go mod download -json "github.com/rabbitmq/amqp091-go@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cp -r "$src/." "$dir"
chmod -R u+w "$dir"
cd "$dir"
what="own tests"
if [ -n "${HTTP_PORT:-}" ]; then
	sed -i "s/15672/$HTTP_PORT/g" recovery_test.go internal/utils/http.go
else
	rm recovery_test.go
	what="own tests, without recovery (no management API)"
fi
skip=$(sed 's/#.*//' "$here/deviations.txt" | awk 'NF { printf "%s^%s$", sep, $1; sep = "|" }')
set +e
go test -tags integration -count=1 -timeout 10m -json ${RUN:+-run "$RUN"} ${skip:+-skip "$skip"} . > out.json 2> err.txt
status=$?
set -e
count() { grep '"Test":"[^"/]*"' out.json | grep -c "\"Action\":\"$1\"" || true; }
passed=$(count pass) failed=$(count fail)
if [ $status -ne 0 ]; then
	cat err.txt >&2
	for name in $(sed -n 's/.*"Action":"fail".*"Test":"\([^"/]*\)".*/\1/p' out.json | sort -u); do
		echo "--- FAIL $name" >&2
		grep "\"Test\":\"$name\"" out.json | sed -n 's/.*"Output":"\(.*\)\\n"}$/    \1/p' | tail -20 >&2
	done
	[ "$failed" -ne 0 ] || failed=1
fi
echo "amqp091-go $version $what: $passed passed, $failed failed"
[ $status -eq 0 ]
