#!/usr/bin/env bash
# Builds spire-server and spire-agent at the version that test/spire/go.mod names, for `make test` and `make spire-test`. What it
# made is kept outside of the clone, by version and Go, and the second time it does nothing. `--path` prints the folder where they
# are or will be.
#   SIDESTEP_SPIRE   a folder with binaries of your own: nothing is built
# It is SPIRE as released, save that the plugins that the tests do not configure are left out of the lists of those built in: the
# clients of three clouds and of Kubernetes are more than half of all packages, and the largest.
set -euo pipefail
cd "$(dirname "$0")/.."

MODULE=github.com/spiffe/spire
OLDEST=24 # go 1.24, what the module asks for
PLUGINS='jointoken|disk|memory|unix|uniqueid'

fail() { printf '\nSPIRE cannot be built: %s\n  hint: %s\n' "$1" "$2" >&2; exit 1; }

if [ -n "${SIDESTEP_SPIRE:-}" ]; then
	[ "${1:-}" = --path ] && { echo "$SIDESTEP_SPIRE"; exit; }
	for binary in spire-server spire-agent; do
		[ -x "$SIDESTEP_SPIRE/$binary" ] || fail "SIDESTEP_SPIRE has no $binary" "unset it, or name a folder that has both"
	done
	exit
fi
go=$(scripts/find-go.sh "$OLDEST") || fail "there is no Go 1.$OLDEST or newer" "install one, or set SIDESTEP_SPIRE to a folder with the two binaries"
version=$(sed -n "s|^require $MODULE ||p" test/spire/go.mod)
target=${XDG_CACHE_HOME:-$HOME/.cache}/sidestep/spire/$version+$(GOTOOLCHAIN=local "$go" env GOVERSION)
[ "${1:-}" = --path ] && { echo "$target"; exit; }
[ -x "$target/spire-server" ] && [ -x "$target/spire-agent" ] && exit

command -v gcc >/dev/null || fail "there is no gcc" "install gcc: SPIRE's data store is SQLite, which is C"
say() { printf '  %-6s %s\n' SPIRE "$1"; }
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
# In a copy: -mod=mod may add lines to go.mod, and the checkout stays as it is.
cp test/spire/go.mod test/spire/go.sum "$work/"
cd "$work"
export GOFLAGS='-mod=mod -buildvcs=false' CGO_ENABLED=1

say "$version, downloaded"
"$go" mod download "$MODULE" 2>log || { tail -n 8 log >&2; fail "its source cannot be downloaded" "is the Go module proxy reachable (go env GOPROXY)?"; }
cp -r --no-preserve=mode "$("$go" list -m -f '{{.Dir}}' "$MODULE")" source
for list in source/pkg/{server,agent}/catalog/*.go; do
	sed -Ei "
		\\%/plugin/[a-z]+/[a-z0-9]+\"\$%{\\%/($PLUGINS)\"\$%!d}
		/^\\s*[a-z0-9]+\\.BuiltIn\\(\\),\$/{/\\<($PLUGINS)\\./!d}" "$list"
done
"$go" mod edit -replace "$MODULE=./source"

say "$version, built the first time (3 minutes of CPU)"
# go tells each package that is compiled, by a line of its own.
if ! nice -n 15 "$go" build -v -trimpath -ldflags '-s -w' -o bin/ "$MODULE/cmd/spire-server" "$MODULE/cmd/spire-agent" 2>&1 | tee log |
	awk '/^[^ #]+$/ && ++packages % 100 == 0 { printf "  %-6s %d packages of some 1000\n", "SPIRE", packages; fflush() }'; then
	tail -n 8 log >&2
	fail "go build failed" "is the Go module proxy reachable (go env GOPROXY)?"
fi
# In one step: another run may be at the same point.
mv -T bin "$target" 2>/dev/null || [ -x "$target/spire-agent" ]
