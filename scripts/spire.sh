#!/usr/bin/env bash
# Builds spire-server and spire-agent at the version that test/spire/go.mod names, for `make spire-test`. The first build takes
# some 10 minutes of two cores and 4 GB of memory; what it made is kept outside of the clone, by version and Go, and the second
# time it does nothing. `--path` prints the folder where they are or will be.
#   SIDESTEP_SPIRE   a folder with binaries of your own: nothing is built
set -euo pipefail
cd "$(dirname "$0")/../test/spire"

fail() { printf '\nSPIRE cannot be built: %s\n  hint: %s\n' "$1" "$2" >&2; exit 1; }

if [ -n "${SIDESTEP_SPIRE:-}" ]; then
	[ "${1:-}" = --path ] && { echo "$SIDESTEP_SPIRE"; exit; }
	for binary in spire-server spire-agent; do
		[ -x "$SIDESTEP_SPIRE/$binary" ] || fail "SIDESTEP_SPIRE has no $binary" "unset it, or name a folder that has both"
	done
	exit
fi
command -v go >/dev/null || fail "there is no go" "install Go 1.24.6 or newer, or set SIDESTEP_SPIRE to a folder with the two binaries"
version=$(awk '$2 == "github.com/spiffe/spire" { print $3 }' go.mod)
target=${XDG_CACHE_HOME:-$HOME/.cache}/sidestep/spire/$version+$(go env GOVERSION)
[ "${1:-}" = --path ] && { echo "$target"; exit; }
[ -x "$target/spire-server" ] && [ -x "$target/spire-agent" ] && exit

command -v gcc >/dev/null || fail "there is no gcc" "install gcc: SPIRE's data store is SQLite, which is C"
printf '  %-6s %s\n' SPIRE "$version (about 10 minutes the first time)"
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
# In a copy: -mod=mod may add lines to go.mod, and the checkout stays as it is.
cp go.mod go.sum "$work/"
if ! (cd "$work" && CGO_ENABLED=1 GOFLAGS=-buildvcs=false nice -n 15 go build -mod=mod -trimpath -ldflags '-s -w' -o "$work/bin/" \
	github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/cmd/spire-agent) >"$work/log" 2>&1; then
	tail -n 8 "$work/log" >&2
	fail "go build failed" "is the module proxy reachable, and are 4 GB of memory free?"
fi
# In one step: another run may be at the same point.
mv -T "$work/bin" "$target" 2>/dev/null || [ -x "$target/spire-agent" ]
