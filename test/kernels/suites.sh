#!/usr/bin/env bash
# suites.sh whole|refused: what is tested in the guest, on whatever kernel it runs. Lines that begin with `kernel:` are read by
# scripts/kernels.sh: `kernel: what PASSED FAILED SKIPPED SECONDS NAME`, or `kernel: is FACT`.
set -uo pipefail
cd "$(dirname "$0")/../.."
export NO_COLOR=1 CI=true
failures=0

told() { # name passed failed skipped start
	failures=$((failures + $3))
	# On a line of its own, whatever was written before.
	printf '\nkernel: what %s %s %s %s %s\n' "$2" "$3" "$4" $((SECONDS - $5)) "$1"
}
step() { # name, command...
	local name=$1 start=$SECONDS
	shift
	if "$@"; then told "$name" 1 0 0 "$start"; else told "$name" 0 1 0 "$start"; fi
}
suite() { # name, project, files...
	local name=$1 project=$2 report start=$SECONDS
	shift 2
	report=$(mktemp)
	vitest run --project "$project" --reporter=default --reporter=json --outputFile.json="$report" "$@"
	# shellcheck disable=SC2046 # three numbers
	told "$name" $(scripts/count-tests.sh "$report" $?) "$start"
	rm -f "$report"
}
check() { # 79: it can, with something less
	bin/sidestep check
	local status=$?
	[ "$status" -eq 0 ] || [ "$status" -eq 79 ]
}
check_refuses() { # the kernel by its version, and the program by its name
	local said status
	said=$(bin/sidestep check)
	status=$?
	echo "$said"
	[ "$status" -eq 1 ] && grep -q '^× kernel is .* or newer' <<<"$said" && grep -q '^× kernel takes the programs (pick_envoy: ' <<<"$said"
}
agent_refuses() {
	local said
	# An agent that does not refuse does not end.
	said=$(timeout 120 bin/sidestep agent --source /tmp --node refused 2>&1) && return 1
	echo "$said"
	grep -q KERNEL_TOO_OLD <<<"$said"
}

echo "kernel: is $(uname -r)"
node -e '
	import("./control-plane/datapath/addon.ts").then(({ openKernel }) => {
		const { tcx, wireguard } = openKernel().features();
		console.log(`kernel: is ${tcx ? "tcx" : "clsact"}`);
		console.log(`kernel: is ${wireguard ? "WireGuard in the kernel" : "WireGuard in user space"}`);
	});'
# Debian's kernels have it: no process can stand in for it here.
export SIDESTEP_WIREGUARD=/nowhere

if [ "$1" = refused ]; then
	step "sidestep check refuses it by name" check_refuses
	step "the agent refuses it by name" agent_refuses
	exit $((failures > 0))
fi
step "sidestep check" check
step "demo, act 2: policy" bin/sidestep demo --act 2
step "demo, act 5: two nodes" bin/sidestep demo --act 5
suite "verifier" bpf test/bpf/verifier.test.ts
exit $((failures > 0))
