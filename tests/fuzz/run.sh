#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Builds the fuzz targets and runs each of them.
#
#   tests/fuzz/run.sh [SECONDS [TARGET …]]    60 seconds of each target, unless told otherwise
#   tests/fuzz/run.sh --build [TARGET …]      only build
#   tests/fuzz/run.sh --merge [TARGET …]      put what the runs have found, minimised, into the repository's corpus
#
# The targets are decoder, admin and dispatcher. The package is built with clang's AddressSanitizer,
# UndefinedBehaviorSanitizer and libFuzzer's counters into build/fuzz/tree ($FUZZ_DIR/tree); build/fuzz/TARGET is the
# program. Inputs gather in build/fuzz/corpus/TARGET, and what fails lies in build/fuzz/failures:
# `ASAN_OPTIONS=detect_leaks=0 build/fuzz/TARGET FILE` repeats it. Once mended, it goes to tests/fuzz/found/TARGET.
# The seconds of the clock and of the processor stand in a row for tests/fuzz/LOG.md, which also goes to build/fuzz/rows.md.
# Needs clang with its runtime (Debian: apt-get install clang libclang-rt-14-dev).
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
out=$(realpath -m "${FUZZ_DIR:-build/fuzz}")
all=(decoder admin dispatcher)
declare -A module=([decoder]=targets [admin]=targets [dispatcher]=program)
declare -A longest=([decoder]=1024 [admin]=512 [dispatcher]=240)
# Cython's own code adds 0 to NULL, which C forbids and every compiler allows.
allowed="-fno-sanitize=pointer-overflow"
sanitizers=(-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined "$allowed")

find_clang() {
    local name
    for name in "${CLANG:-clang}" clang-{21,20,19,18,17,16,15,14}; do
        if command -v "$name" >/dev/null && "$name" -fsanitize=fuzzer,address -x c - -o "$out/probe" 2>/dev/null \
            <<<'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d && n ? 0 : 0; }'; then
            echo "$name"
            return
        fi
    done
    echo "no clang with libFuzzer found (Debian: apt-get install clang libclang-rt-14-dev)" >&2
    return 1
}

config() {
    "$python" -c "import sys, sysconfig; print($1)"
}

# What links a program with the Python it is to embed, whether that came as a shared library or not.
python_libraries() {
    "$python" - <<'EOF'
import sysconfig

get = sysconfig.get_config_var
if get("Py_ENABLE_SHARED"):
    print(f"-L{get('LIBDIR')} -Wl,-rpath,{get('LIBDIR')} -lpython{get('LDVERSION')} -lm")
else:
    library = f"{get('LIBPL')}/{get('LIBRARY')}"
    print(f"-Wl,--whole-archive {library} -Wl,--no-whole-archive {get('LIBS')} {get('SYSLIBS')}")
EOF
}

build_tree() {
    # Flags of setup.py come last on its command lines, and would switch on again what is allowed. The checker is no
    # subject of the search, so it gets no counters.
    cat >"$out/cc" <<EOF
#!/bin/sh
case "\$*" in
*_check*.c*) exec $clang "\$@" $allowed -fno-sanitize=fuzzer-no-link ;;
*) exec $clang "\$@" $allowed ;;
esac
EOF
    chmod +x "$out/cc"
    GEARFAST_BUILD=sanitize GEARFAST_ONLY=gearfast._codec,gearfast.dispatch CC=$out/cc LDSHARED="$out/cc -shared" \
        CFLAGS="-fsanitize=fuzzer-no-link -Wno-unused-function" "$python" setup.py --quiet \
        build_ext --build-lib "$out/tree" --build-temp "$out/objects" >"$out/build.log" 2>&1 || {
        tail -n 40 "$out/build.log" >&2
        return 1
    }
    cp gearfast/*.py "$out/tree/gearfast/"
    cp gearfast/dispatch/*.py "$out/tree/gearfast/dispatch/"
}

build_target() {
    local target=$1 c=$out/c/${module[$1]} include home
    include=$(config 'sysconfig.get_path("include")')
    home=$(config 'sys.base_prefix')
    "$clang" "${sanitizers[@]}" -fwrapv -Wno-unused-function -I"$include" -I"$out/c" -c \
        -DTARGET="fuzz_$target" -DMODULE="${module[$1]}" -DHEADER="\"${module[$1]}.h\"" \
        -DPYTHON_HOME="\"$home\"" -DPYTHON_TREE="\"$out/tree\"" tests/fuzz/harness.c -o "$out/c/$target.o"
    "$clang" "${sanitizers[@]}" -fwrapv -Wno-unused-function -I"$include" -c "$c.c" -o "$c.o"
    local libraries
    read -ra libraries <<<"$(python_libraries)"
    "$clang" "${sanitizers[@]}" -fsanitize=fuzzer "$out/c/$target.o" "$c.o" -o "$out/$target" \
        -Wl,--export-dynamic "${libraries[@]}"
}

build() {
    mkdir -p "$out"/{c,corpus,failures,tree}
    clang=$(find_clang)
    build_tree
    local name
    for name in targets program; do
        "$python" -m cython -3 -I . "tests/fuzz/$name.pyx" -o "$out/c/$name.c"
    done
    for name in "$@"; do
        build_target "$name"
    done
}

# The last line that libFuzzer printed about its progress.
summary() {
    printf '%s: %s\n' "$2" "$(grep -E 'cov: ' "$1" | tail -n 1 | sed -E 's/^#([0-9]+)\t[A-Za-z]+ */\1 execs, /')"
}

# A row for tests/fuzz/LOG.md: log, target, `seconds of the clock, of the user, of the system`, failures.
row() {
    local clock user system runs edges
    read -r clock user system <<<"$3"
    runs=$(awk '/number_of_executed_units/ { print $2 }' "$1")
    edges=$(grep -oE 'cov: [0-9]+' "$1" | tail -n 1 | cut -d ' ' -f 2)
    printf '| %s | %s | %.0f | %.0f | %s | %s | %s |\n' \
        "$(date -u +%F)" "$2" "$clock" "$(awk "BEGIN { print $user + $system }")" "${runs:-?}" "${edges:-?}" "$4"
}

run_target() {
    local seconds=$1 target=$2 failures=none
    local log=$out/$target.log seeds=("tests/fuzz/corpus/$2")
    local TIMEFORMAT='%R %U %S'
    mkdir -p "$out/corpus/$target" "tests/fuzz/corpus/$target"
    [[ ! -d "tests/fuzz/found/$target" ]] || seeds+=("tests/fuzz/found/$target")
    if ! { time "$out/$target" "$out/corpus/$target" "${seeds[@]}" -max_total_time="$seconds" \
        -max_len="${longest[$target]}" -dict=tests/fuzz/gearman.dict -artifact_prefix="$out/failures/$target-" \
        -timeout="${PATIENCE:-30}" -rss_limit_mb=2048 -print_final_stats=1 -detect_leaks=0 >"$log" 2>&1; } \
        2>"$log.time"; then
        failures=one
        grep -vE '^#[0-9]+' "$log" | tail -n 60
        echo "$target FAILED; the input is in build/fuzz/failures"
    fi
    summary "$log" "$target"
    row "$log" "$target" "$(<"$log.time")" "$failures" | tee -a "$out/rows.md"
    [[ "$failures" == none ]]
}

# All targets at once: a row has the seconds of the processor.
run() {
    local seconds=$1 failed=0 target child children=()
    shift
    echo "--- $* for $seconds s"
    for target in "$@"; do
        run_target "$seconds" "$target" &
        children+=($!)
    done
    for child in "${children[@]}"; do
        wait "$child" || failed=1
    done
    return "$failed"
}

# The fewest inputs that together reach what all of them reach.
merge() {
    local target kept
    for target in "$@"; do
        kept=$out/kept/$target
        rm -rf "$kept"
        mkdir -p "$kept" "$out/corpus/$target" "tests/fuzz/corpus/$target"
        "$out/$target" -set_cover_merge=1 -max_len="${longest[$target]}" -detect_leaks=0 "$kept" \
            "tests/fuzz/corpus/$target" "$out/corpus/$target" >"$out/$target.log" 2>&1 || {
            tail -n 40 "$out/$target.log"
            return 1
        }
        rm -rf "tests/fuzz/corpus/$target"
        cp -r "$kept" "tests/fuzz/corpus/$target"
        echo "$target: $(find "$kept" -type f | wc -l) inputs, $(cat "$kept"/* | wc -c) bytes"
    done
}

# Children of a sanitised Python would look for leaks at their exit; the harness looks for them by itself.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0:abort_on_error=1:malloc_context_size=4:quarantine_size_mb=32}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
case "${1:-60}" in
--build)
    shift
    build "${@:-${all[@]}}"
    ;;
--merge)
    shift
    build "${@:-${all[@]}}"
    merge "${@:-${all[@]}}"
    ;;
*)
    seconds=${1:-60}
    shift || true
    build "${@:-${all[@]}}"
    run "$seconds" "${@:-${all[@]}}"
    ;;
esac
