#!/usr/bin/env bash
# count-tests.sh REPORT STATUS: prints "passed failed skipped" of vitest's JSON report. A file that could not be run at all counts as a
# failure, and so does a run that failed without saying where, or without a report.
# count-tests.sh --failures REPORT SUITE: a line for each test that failed: suite, file, name and the message's first line.
if [ "$1" = --failures ]; then
	exec node -e '
	const { relative } = require("node:path");
	const [report, suite] = process.argv.slice(1);
	const line = (text) => String(text ?? "").split("\n").find((l) => l.trim() !== "") ?? "";
	for (const t of JSON.parse(require("node:fs").readFileSync(report, "utf8")).testResults) {
		const failed = t.assertionResults.filter((a) => a.status === "failed");
		const name = `${suite} ${relative(process.cwd(), t.name)}`;
		for (const a of failed) console.log(`${name}: ${a.fullName}: ${line(a.failureMessages[0])}`);
		if (failed.length === 0 && t.status === "failed") console.log(`${name}: ${line(t.message)}`);
	}' "$2" "$3" 2>/dev/null
fi
read -r passed failed skipped < <(node -e '
	const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
	const broken = r.testResults.filter((t) => t.status === "failed" && t.assertionResults.every((a) => a.status !== "failed")).length;
	console.log(r.numPassedTests, r.numFailedTests + broken, r.numPendingTests + r.numTodoTests);' "$1" 2>/dev/null || echo "0 1 0")
[ "$2" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
echo "$passed $failed $skipped"
