#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests of the packages given. There are real servers and real time in them, and the machine
# they run on may stand still for a second: up to three tests that fail are tried once more, alone and
# loudly. What fails twice fails, and so does a package that does not build or ends otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() {
	HIGHWATER_REQUIRE_LAB=1 "${GO:-go}" test -race -shuffle=on -timeout 30m "$@"
}

if run "$@" 2>&1 | tee "$log"; then
	exit 0
fi
# One line for each package that failed: its path, and its tests as a pattern; a package without any
# has no pattern.
mapfile -t failed < <(awk '
	/^--- FAIL: / { tests = tests (tests == "" ? "" : "|") $3; n++ }
	/^ok / { tests = "" }
	/^FAIL\t/ { print $2, tests; tests = "" }
' "$log")
count=$(grep -c '^--- FAIL: ' "$log" || true)
if ((${#failed[@]} == 0 || count == 0 || count > 3)); then
	exit 1
fi
for line in "${failed[@]}"; do
	read -r package tests <<<"$line"
	if [[ -z $tests ]]; then
		exit 1
	fi
	echo "FAILED, see above: $package $tests; second and last try"
	run -run "^($tests)\$" "$package"
done
