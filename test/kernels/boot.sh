#!/usr/bin/env bash
# boot.sh KERNEL LOG SECONDS COMMAND: boots the kernel in that folder (fetch.sh) in an emulated machine, runs the command there in
# this clone, as root, and writes what it says to LOG. Exit status: the command's; 124: it took longer than SECONDS; 125: the guest
# ended without one, LOG.console says why.
# The guest's files are this machine's own, read-only under a tmpfs. It has no network but its loopback, and nothing of the
# guest's outlives it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 log=$2 limit=$3 command=$4
release=$(cat "$kernel/release")

work=$(mktemp -d "${TMPDIR:-/tmp}/sidestep-kernel-XXXXXX")
pid=
finish() {
	[ -z "$pid" ] || { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

mkdir -p "$work/root/bin" "$work/root/modules" "$work/root/guest"
cp /bin/busybox "$work/root/bin/"
cp "$here/init.sh" "$work/root/init"
cp "$here/start.sh" "$work/root/guest/"
chmod +x "$work/root/init" "$work/root/guest/start.sh"
echo "$kernel/lib/modules" >"$work/root/guest/modules"
printf 'cd %q\nexport PATH=%q HOME=%q\n%s\n' "$(cd "$here/../.." && pwd)" "$PATH" "$HOME" "$command" >"$work/root/guest/command"
# Without these there are no files; all others the kernel asks for by itself, as on any machine.
number=10
for module in $(modprobe -d "$kernel" -S "$release" --show-depends -a virtio_pci 9pnet_virtio 9p overlay | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
	to=$work/root/modules/$((number++)).ko
	case $module in
	*.xz) xz -dc "$module" >"$to" ;;
	*) cp "$module" "$to" ;;
	esac
done
(cd "$work/root" && find . | cpio -o -H newc --quiet) >"$work/initrd"

# -icount: the guest's clock counts its instructions, one a nanosecond, while it is not idle. A slow or busy host makes the guest
# slow, never late: every patience of a test means there what it means on a machine of its own.
: >"$log"
qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -accel tcg -icount shift=0,sleep=on -cpu max -smp 1 -m 3072 \
	-kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
	-append "console=ttyS0 quiet panic=-1 nowatchdog mitigations=off rcupdate.rcu_cpu_stall_suppress=1 random.trust_cpu=on" \
	-serial "file:$log.console" -serial "file:$log" \
	-fsdev local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=machine,mount_tag=machine </dev/null &
pid=$!
for ((end = SECONDS + limit; SECONDS < end; )); do
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.5
done
if kill -0 "$pid" 2>/dev/null; then
	echo "guest: not done within $limit s" >>"$log"
	exit 124
fi
status=$(sed -n 's/^guest: exit \([0-9]*\)\r*$/\1/p' "$log" | tail -n 1)
exit "${status:-125}"
