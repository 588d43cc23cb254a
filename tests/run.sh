#!/bin/bash
# Runs test stages (lint, unit, system) and closes with one line: "N passed, N failed".
# A stage that cannot be built or linted counts as one failed test, named above that line.
# Tests that were skipped ("ignored") are listed but not counted.
set -u
cd "$(dirname "$0")/.."
out=tests/out
mkdir -p "$out"
log=$out/test.log
: >"$log"
passed=0 failed=0

# Counts the runner's own summary lines in the part of the log that a stage wrote.
count() {
    read -r ok bad < <(awk '/^test result:/ { p += $4; f += $6 } END { print p+0, f+0 }' "$1")
    passed=$((passed + ok)) failed=$((failed + bad))
    return "$bad"
}

stage() {
    local name=$1 part=$out/$1.log
    shift
    echo "== $name: $*"
    local start=$SECONDS
    "$@" 2>&1 | tee "$part"
    local status=${PIPESTATUS[0]}
    cat "$part" >>"$log"
    count "$part"
    local counted=$?
    if [ "$status" -ne 0 ] && [ "$counted" -eq 0 ]; then
        echo "FAILED: $name did not complete"
        failed=$((failed + 1))
    fi
    echo "== $name: $((SECONDS - start)) s"
}

for name in "$@"; do
    case $name in
    lint)
        if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
            stage lint make --no-print-directory lint
        else
            echo "lint skipped: rustfmt and clippy are not installed"
        fi
        ;;
    unit) stage unit cargo test --no-fail-fast --workspace --exclude keelson-tests ;;
    system)
        stage images make --no-print-directory images
        stage system cargo test --no-fail-fast --release -p keelson-tests -- --test-threads 2
        ;;
    esac
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
