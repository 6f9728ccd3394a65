#!/usr/bin/env bash
# Prints the path of a Go that is at least 1.<minor>: the one in PATH, one where Go's own archive or Debian's package puts it, or
# Debian's, installed now if that is new enough. Ends with 1 and prints nothing where there is none.
#   scripts/find-go.sh <minor>
set -euo pipefail
oldest=$1

recent() {
	local said
	said=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
	[[ $said =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$oldest" ]
}
find_go() {
	local each
	for each in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
		[ -n "$each" ] && [ -x "$each" ] && recent "$each" && { echo "$each"; return; }
	done
	return 1
}
packaged() { # would apt bring one that is new enough?
	local minor
	minor=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/^ *Candidate: [0-9]*:*1\.\([0-9]*\).*/\1/p')
	[ -n "$minor" ] && [ "$minor" -ge "$oldest" ]
}

find_go && exit
packaged || exit 1
printf '  %-6s %s\n' APT golang-go >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends golang-go >/dev/null || exit 1
find_go
