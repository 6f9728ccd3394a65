#!/usr/bin/env bash
# Puts the user-space WireGuard at build/wireguard-go, for kernels that have none of their own: the Go module of
# native/wireguard/go.mod, checked against go.sum, built by the machine's own Go. The program is kept outside the clone, by
# version; the second time this does nothing. `--path` prints where it is or will be.
#   SIDESTEP_WIREGUARD   a program of your own: nothing is downloaded
# Without a Go that is new enough it says so and ends well: a kernel with WireGuard needs no program.
set -euo pipefail
cd "$(dirname "$0")/.."

MODULE=golang.zx2c4.com/wireguard
OLDEST=23 # go 1.23, what the module asks for
binary=${SIDESTEP_WIREGUARD:-$PWD/build/wireguard-go}
[ "${1:-}" = --path ] && { echo "$binary"; exit; }

fail() { printf '\nwireguard-go cannot be installed: %s\n  hint: %s\n' "$1" "$2" >&2; exit 1; }

if [ -n "${SIDESTEP_WIREGUARD:-}" ]; then
	[ -x "$binary" ] || fail "SIDESTEP_WIREGUARD=$binary is not a program" "unset it, or name a wireguard-go"
	exit
fi
version=$(sed -n "s|^require $MODULE ||p" native/wireguard/go.mod)
stamp=build/wireguard-go.version
[ -x "$binary" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && exit

if ! go=$(scripts/find-go.sh "$OLDEST"); then
	printf '  %-6s %s\n' NOTE "no Go 1.$OLDEST or newer, so no user-space WireGuard: tunnels between nodes need the kernel's own (sidestep check tells)"
	exit
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/sidestep/wireguard-go/$version+$(GOTOOLCHAIN=local "$go" env GOVERSION)
mkdir -p build
if [ ! -x "$cache/wireguard-go" ]; then
	printf '  %-6s %s\n' GO "wireguard-go ${version#v0.0.0-} (a quarter of a minute)"
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/.new-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	# Without cgo the program needs no library of this machine, and with -trimpath it does not say where it was built.
	if ! (cd native/wireguard && GOTOOLCHAIN=local GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
		"$go" build -mod=readonly -trimpath -ldflags "-s -w" -o "$work/wireguard-go" "$MODULE") >"$work/log" 2>&1; then
		tail -n 8 "$work/log" >&2
		fail "go build failed" "is the Go module proxy reachable (go env GOPROXY)? A program of your own works too: SIDESTEP_WIREGUARD"
	fi
	"$work/wireguard-go" --version >/dev/null || fail "the program does not run here" "set SIDESTEP_WIREGUARD to one of your own"
	# In one step: another run may be at the same point.
	mv "$work/wireguard-go" "$cache/wireguard-go"
fi
cp "$cache/wireguard-go" "$binary.new"
mv "$binary.new" "$binary"
echo "$version" >"$stamp"
