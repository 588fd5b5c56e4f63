#!/usr/bin/env bash
# STOMP-41: STOMP with the Ruby, Perl and PHP clients that Debian packages: log in, send,
# receive, acknowledge, receipt. The packages are installed when they are missing
# and we may; otherwise a missing one is a failure in CI (CI=1) and left out
# elsewhere. STOMP_ADDR is host:port of the broker.
set -euo pipefail
cd "$(dirname "$0")"
: "${STOMP_ADDR:?name the broker}"
export HOST=${STOMP_ADDR%:*} PORT=${STOMP_ADDR##*:}
have() {
	case $1 in
	ruby) ruby -e 'require "stomp"' ;;
	perl) perl -MNet::Stomp -e 1 ;;
	php) php -r 'exit(class_exists("Stomp") ? 0 : 1);' ;;
	esac >/dev/null 2>&1
}
if ! { have ruby && have perl && have php; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		ruby-stomp libnet-stomp-perl php-cli php-stomp; } >&2 || true
fi
passed=0 failed=0
for language in ruby perl php; do
	if ! have "$language"; then
		echo "no STOMP client in $language here" >&2
		[ -z "${CI:-}" ] || failed=$((failed + 1))
		continue
	fi
	case $language in ruby) script=scenario.rb ;; perl) script=scenario.pl ;; php) script=scenario.php ;; esac
	if timeout 60 "$language" "$script" >&2; then
		passed=$((passed + 1))
	else
		echo "FAIL $language" >&2
		failed=$((failed + 1))
	fi
done
echo "ruby, perl, php: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
