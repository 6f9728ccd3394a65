#!/usr/bin/env bash
# The product on other kernels, each in an emulated machine (test/kernels/boot.sh); no KVM and no reboot is needed. Side by side, as
# many as there are cores. Ends with a table and one line: N passed, N failed[, N skipped].
#   KERNELS="6.1"   which ones; default: 5.10 6.1 6.12. 5.10 is too old: there it is tested that this is said
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
# Seconds a guest may take: nine times the processor time that it takes.
limit=1800
kernels=${KERNELS:-5.10 6.1 6.12}
logs=build/kernels

fail() { printf '\nmake kernels cannot go on: %s\n  hint: %s\n' "$1" "$2" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || fail "this is $(uname -m)" "the guests are x86_64, as the programs that they share with this machine"
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need qemu-system-x86_64 qemu-system-x86
[ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 || packages+=(busybox-static)
need modprobe kmod
need cpio cpio
need xz xz-utils
if [ ${#packages[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "these are missing: ${packages[*]}" "install them"
	printf '  %-6s %s\n' APT "${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"; } >/dev/null || fail "apt could not install: ${packages[*]}" "is there a network?"
fi

mkdir -p "$logs"
run_one() { # kernel: leaves the time it took in its .seconds
	local folder start=$SECONDS what=whole
	[ "$1" = 5.10 ] && what=refused
	rm -f "$logs/$1".*
	folder=$(test/kernels/fetch.sh "$1") || return
	test/kernels/boot.sh "$folder" "$logs/$1.log" "$limit" "exec test/kernels/suites.sh $what" &
	local guest=$!
	# Waited for in the background: a shell that waits for a command hears of no signal, and its guest would outlive it.
	trap 'kill "$guest"; wait "$guest"; exit 130' TERM
	wait "$guest"
	echo $? >"$logs/$1.status"
	echo $((SECONDS - start)) >"$logs/$1.seconds"
}
pids=()
trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null; wait; exit 130' INT TERM HUP
for kernel in $kernels; do
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
	echo "  GUEST  $kernel: $logs/$kernel.log"
	run_one "$kernel" &
	pids+=($!)
done
wait

passed=0 failed=0 skipped=0
row() { printf '%-7s %-46s %7s %7s %8s %9s\n' "$@"; }
echo
row kernel what passed failed skipped 'guest s'
for kernel in $kernels; do
	log=$logs/$kernel.log ended=0
	while read -r _ what p f s seconds name; do
		[ "$what" = what ] || continue
		row "$kernel" "$name" "$p" "$f" "$s" "$seconds"
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s)) ended=$((ended + f))
	done < <(tr -d '\r' <"$log" 2>/dev/null | grep '^kernel: what')
	facts=$(tr -d '\r' <"$log" 2>/dev/null | sed -n 's/^kernel: is //p' | paste -sd, | sed 's/,/, /g')
	status=$(cat "$logs/$kernel.status" 2>/dev/null || echo none)
	case $status in
	0) ;;
	none) why="no such kernel to be had" ;;
	124) why="not done within $limit s" ;;
	125) why="the guest ended by itself: $log.console" ;;
	*) why="exit $status" ;;
	esac
	# Its failures are counted above; what ended otherwise is one.
	if [ "$status" != 0 ] && [ "$ended" -eq 0 ]; then
		row "$kernel" "$why" 0 1 0 -
		failed=$((failed + 1))
	fi
	echo "        ${facts:-did not boot} ($(cat "$logs/$kernel.seconds" 2>/dev/null || echo -) s here)"
done
echo
# Tests of what a kernel has not got: each says so by its name.
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ]
