#!/usr/bin/env bash
# count-tests.sh REPORT STATUS: prints "passed failed skipped" of vitest's JSON report. A file that could not be run at all counts as a
# failure, and so does a run that failed without saying where, or without a report.
read -r passed failed skipped < <(node -e '
	const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
	const broken = r.testResults.filter((t) => t.status === "failed" && t.assertionResults.every((a) => a.status !== "failed")).length;
	console.log(r.numPassedTests, r.numFailedTests + broken, r.numPendingTests + r.numTodoTests);' "$1" 2>/dev/null || echo "0 1 0")
[ "$2" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed $failed $skipped"
