#!/usr/bin/env bash
# count-tests.sh REPORT STATUS: prints "passed failed skipped" of vitest's JSON report. A file that could not be run at all counts as a
# failure, and so does a run that failed without saying where, or without a report.
# count-tests.sh --failures REPORT SUITE: a line for each test that failed: suite, file, name and the message's first line.
# count-tests.sh --files REPORT: the files with a failure, a line each.
# count-tests.sh --replace REPORT AGAIN: REPORT with the files of AGAIN in the place of their first run.
if [ "$1" = --files ]; then
	exec node -e '
	const { relative } = require("node:path");
	const [report] = process.argv.slice(1);
	for (const t of JSON.parse(require("node:fs").readFileSync(report, "utf8")).testResults)
		if (t.status === "failed") console.log(relative(process.cwd(), t.name));' "$2" 2>/dev/null
fi
if [ "$1" = --replace ]; then
	exec node -e '
	const { readFileSync, writeFileSync } = require("node:fs");
	const [to, from] = process.argv.slice(1);
	const [first, again] = [to, from].map((p) => JSON.parse(readFileSync(p, "utf8")));
	const files = new Map(first.testResults.map((t) => [t.name, t]));
	for (const t of again.testResults) files.set(t.name, t);
	first.testResults = [...files.values()];
	const all = first.testResults.flatMap((t) => t.assertionResults);
	const count = (...states) => all.filter((a) => states.includes(a.status)).length;
	first.numPassedTests = count("passed");
	first.numFailedTests = count("failed");
	first.numPendingTests = count("pending", "skipped");
	first.numTodoTests = count("todo");
	writeFileSync(to, JSON.stringify(first));' "$2" "$3"
fi
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
