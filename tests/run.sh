#!/bin/bash
# Runs test stages (lint, unit, system, soak) and closes with one line: "N passed, N failed".
# A stage that cannot be built or linted counts as one failed test, named above that line.
# What could go on for ever in soak does so for SOAK seconds, or for an hour: SOAK=1.
# Tests that were skipped ("ignored") are listed but not counted.
#
# Cargo runs one test program after the other, and a program that ends with one long test leaves the other cores idle.
# Here two programs run at a time, each with half of the cores, those that take longest first.
set -u
cd "$(dirname "$0")/.."
out=$PWD/tests/out
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

# The programs that take longest, by the name of their target, the slowest first. What a run took stands in its log,
# behind "ran in".
slow="nfs_linux fuzz nfs_faults gate lnet_router qnet_nodes nfs_programs network keelson_ext4 lnet_generator nfs_locks \
lwk_programs boot_paths lwk_hostile boot socklnd power_cut linux machines host"

# Builds what `cargo test` would with these words and prints a line for each program: its rank, the directory of its
# package, its path. Returns what the build does.
programs() {
    local built=$out/programs.json status
    cargo test --no-run --message-format json-render-diagnostics "$@" >"$built"
    status=$?
    sed -n 's/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1 \2/p' \
        "$built" |
        while read -r directory program; do
            local target=${program##*/} rank=1
            target=${target%-*}
            for name in $slow; do
                [ "$name" = "$target" ] && break
                rank=$((rank + 1))
            done
            printf '%03d %s %s\n' "$rank" "$directory" "$program"
        done
    return "$status"
}

# No program takes a third of this, not even beside another load: whoever does waits for something that will not come.
longest=900

# What programs are told besides; nothing but in long forms.
words=

# What the processes of a group wait for, a line for each thread. A thread that runs a test has the test's name.
waiting() {
    local process task group
    for process in /proc/[0-9]*; do
        read -r _ group _ < <(sed 's/.*) . //' "$process/stat") && [ "$group" = "$1" ] || continue
        echo "process ${process##*/}: $(tr '\0' ' ' <"$process/cmdline" | cut -c -200)"
        for task in "$process/task/"*; do
            echo "    $(<"$task/comm"): $(awk '/^State/ { print $3 }' "$task/status") $(<"$task/wchan")"
        done
    done 2>/dev/null
}

# Runs a command in a session of its own, which is ended when it takes too long. Returns its status, or 124. Nothing in it has
# a terminal that could stop it, or gets one by opening it: that is for the shell that leads the session. Ctrl-C is what it is
# for other programs.
bounded() {
    local start=$SECONDS group
    setsid env --default-signal=INT,QUIT sh -c '"$@"; exit $?' sh "$@" &
    group=$!
    trap 'kill -KILL -- "-$group"; exit 130' INT TERM
    while kill -0 "$group" 2>/dev/null; do
        if [ $((SECONDS - start)) -ge "$longest" ]; then
            waiting "$group"
            kill -KILL -- "-$group"
            wait "$group" 2>/dev/null
            echo "it did not end in $longest s"
            return 124
        fi
        sleep 0.2
    done
    wait "$group"
}

# Runs one program where Cargo would, and shows what it said when it has ended.
one() {
    local directory=$1 threads=$2 said start=$SECONDS status
    shift 2
    said=$(mktemp)
    (cd "$directory" && RUST_TEST_THREADS=$threads bounded "$@") >"$said" 2>&1 </dev/null
    status=$?
    {
        flock 9
        echo "     Running $*"
        cat "$said"
        # A program that was killed, or ended itself, counts as one failed test.
        if [ "$status" -ne 0 ] && ! grep -q '^test result: FAILED' "$said"; then
            echo "test result: FAILED. 0 passed; 1 failed; $1 ended with status $status"
        fi
        echo "     ran in $((SECONDS - start)) s"
    } 9>"$out/lanes.lock"
    rm -f "$said"
    return "$status"
}
export -f waiting bounded one
export longest out

# Builds the programs that `cargo test` would with these words behind the number of threads, and runs them, two at a
# time; examples in documentation are one of them.
lanes() {
    local threads=$1 list
    shift
    list=$(programs "$@") || return
    if [ -z "$list" ]; then
        echo "Cargo named no test programs"
        return 1
    fi
    {
        sort -s -k 1,1 <<<"$list" | while read -r _ directory program; do
            printf '%s\0' "one '$directory' '$threads' '$program' $words"
        done
        printf '%s\0' "one . '$threads' cargo test -q --no-fail-fast --doc $*"
    } | xargs -0 -n 1 -P 2 bash -c 'eval "$1"' lane
}

# Tests of igb and of x2APIC are for a QEMU that has them: since 8.0, since 9.0.
too_new() {
    local major
    major=$(qemu-system-x86_64 --version | sed -n 's/.* version \([0-9]*\).*/\1/p')
    [ "$major" -ge 8 ] || echo "--skip igb"
    [ "$major" -ge 9 ] || echo "--skip x2apic"
}

# The long forms of everything that has one. Storage is timed beside Linux when nothing else runs.
long_forms() {
    local seconds=${SOAK:-1} status=0
    export KEELSON_SOAK=$seconds
    [ "$seconds" -gt 1 ] || seconds=3600
    # A program's tests that could go on for ever are fewer than this.
    longest=$((longest + 60 * seconds))
    words="--include-ignored --skip speed $(too_new | tr '\n' ' ')"
    lanes 1 --release -p keelson-tests -p keelson-ext4-gate -p keelson-nfs-gate -p keelson-qnet-gate -p keelson-qnet || status=1
    cargo test -q --release -p keelson-ext4-gate --test gate -- --include-ignored --exact speed || status=1
    return "$status"
}

# Half of the cores for each of two programs.
half=$((($(nproc) + 1) / 2))

for name in "$@"; do
    case $name in
    lint)
        if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
            stage lint make --no-print-directory lint
        else
            echo "lint skipped: rustfmt and clippy are not installed"
        fi
        ;;
    unit) stage unit lanes "$half" --workspace --exclude keelson-tests ;;
    system)
        stage images make --no-print-directory iso
        # One test of each program: two at a time are what the memory of a small machine has room for.
        stage system lanes 1 --release -p keelson-tests
        ;;
    soak)
        stage images make --no-print-directory iso
        stage soak long_forms
        ;;
    esac
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
