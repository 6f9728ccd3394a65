#!/usr/bin/env bash
# Builds native/sidestep.node and native/libsidestep_identity.so, each only when its sources have changed.
# `--find-cargo` only looks for a compiler; `--clippy` only lints the Rust sources, where clippy is installed.
set -euo pipefail
cd "$(dirname "$0")"

OLDEST=88 # cargo 1.88

recent() { # does this cargo answer, and is it new enough?
	local version
	version=$("$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
	[ -n "$version" ] && [ "$version" -ge "$OLDEST" ]
}

find_cargo() {
	local shim
	shim=$(command -v cargo || true)
	if [ -n "$shim" ]; then
		recent "$shim" && { echo "$shim"; return; }
		# A rustup shim looks for its toolchains under $HOME, which may be a new one; they stand beside the shim.
		local beside="$(dirname "$shim")/../../.rustup"
		if [ -z "${RUSTUP_HOME:-}" ] && [ -d "$beside" ]; then
			RUSTUP_HOME=$(cd "$beside" && pwd)
			export RUSTUP_HOME
			recent "$shim" && { echo "$shim"; return; }
		fi
	fi
	recent /usr/bin/cargo && { echo /usr/bin/cargo; return; }
	return 1
}

# Not in a subshell: find_cargo may export RUSTUP_HOME.
if ! find_cargo >/dev/null; then
	echo "no cargo of 1.$OLDEST or newer; on Debian: apt-get install cargo-web rustc-web" >&2
	exit 1
fi
CARGO=$(find_cargo)
[ "${1:-}" = --find-cargo ] && { echo "$CARGO"; exit; }
# Debian's cargo needs its own rustc, not a shim that stands first in PATH.
[ "$CARGO" = /usr/bin/cargo ] && export RUSTC=/usr/bin/rustc

if [ "${1:-}" = --clippy ]; then
	"$CARGO" clippy --version >/dev/null 2>&1 || { echo "cargo-clippy is not installed: native/src is not linted"; exit; }
	exec "$CARGO" clippy --release --locked --quiet -- -D warnings
fi

# Moved into place whole: a process that runs may hold the old one.
if [ ! -e libsidestep_identity.so ] || [ -n "$(find envoy ../bpf/include build.sh -newer libsidestep_identity.so -print -quit)" ]; then
	echo "  CC     Envoy's identity module"
	gcc -shared -fPIC -O2 -std=gnu2x -Wall -Wextra -Werror -I../bpf/include -Wl,-z,relro,-z,now -s \
		-o libsidestep_identity.so.new envoy/identity_module.c
	mv libsidestep_identity.so.new libsidestep_identity.so
fi

sum=$(cat Cargo.toml Cargo.lock build.rs src/*.rs | sha256sum | cut -d' ' -f1)
if [ -e sidestep.node ] && [ "$(cat target/stamp 2>/dev/null)" = "$sum" ]; then
	exit 0
fi
echo "  CARGO native (about a minute the first time)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$CARGO" build --release --locked >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	exit 1
fi
cp target/release/libsidestep_native.so sidestep.node.new
mv sidestep.node.new sidestep.node
echo "$sum" >target/stamp
