# shellcheck shell=bash
# The suites of tests/run: what each needs and how it runs. Every suite leaves its log in
# $results/NAME.log and its cases in $results/NAME.{tap,xml,json}. Sourced by tests/run, which sets
# root, work and results.
# shellcheck disable=SC2154,SC2034

SUITES=(lint unit contract integration qemu clients fault fuzz browser quickstart)
# Only when they are named: they take longer than everything else together.
SUITES_ON_DEMAND=(system sanitizers)
# Beside the others when there are others, one after the other: nothing in them has a deadline. What
# need not go on once the others have ended looks at $others_ended.
SUITES_IN_GAPS=(lint fuzz)
declare -A SUITE_SUMMARY=(
    [lint]="include walls, source rules, shellcheck, clang build, clang-tidy, cppcheck"
    [unit]="C unit tests under AddressSanitizer and UBSan"
    [contract]="openapi.yaml against the tables in the program"
    [integration]="the daemon on libvirt's test driver, over HTTP and its command line"
    [qemu]="real guests: Linux under emulation, boot sectors under KVM where it works"
    [clients]="clients that others wrote (websockets, xterm.js, noVNC, ssh), nginx, Caddy and HAProxy in front"
    [fault]="kill -9 and other misfortunes"
    [fuzz]="every fuzz target, up to a minute of the time others leave (5 s alone, 60 with --long); stored inputs are in unit"
    [browser]="the dashboard in Chromium"
    [quickstart]="deploy/quickstart, twice, and its --stop"
    [sanitizers]="the daemon and unit tests under ThreadSanitizer and valgrind (only when named)"
    [system]="the service under systemd, with guests under real KVM, in an emulated host (only when named)"
)

# suite_missing NAME: prints why it cannot run, or nothing.
suite_missing() {
    local need
    case $1 in
    contract | integration | qemu | clients | fault | quickstart | system)
        [[ -n $(find "$root/tests/$1" -name 'test_*.py' 2>/dev/null | head -n 1) ]] || printf 'there are no tests in tests/%s' "$1"
        ;;
    fuzz) command -v clang >/dev/null || printf 'clang is not installed' ;;
    browser) [[ -f $root/tests/browser/run.sh ]] || printf 'there is no tests/browser/run.sh' ;;
    esac
    case $1 in
    qemu | clients | system) need=qemu-system-x86_64 ;;
    browser) need=chromium ;;
    *) return 0 ;;
    esac
    command -v "$need" >/dev/null || printf '%s is not installed' "$need"
    [[ $1 != quickstart && $1 != system || $(id -u) == 0 ]] || printf 'only root can run it'
}

# ---- builds, each once per run ----

declare -A built=()

# build NAME MESON-OPTION...: into $work/NAME.
build() {
    local name=$1 log=$results/build-$1.log targets=()
    shift
    case $name in
    crash) targets=(droverd drover drover-front) ;;
    # What is installed, and what tests put under it; its own tests are the sanitizer build's.
    release)
        targets=(droverd drover drover-front drover-ksm-helper drover.bash _drover drover.fish deploy/drover.1 tests/jumping_clock.so
            tests/late_unlocks.so tests/scarce_memory.so tests/failing_calls.so tests/deaf_guests.so
            tests/unit/virt/test_virt_{qemu,remote} tests/unit/base/test_sandbox)
        ;;
    esac
    [[ -z ${built[$name]:-} ]] || return 0
    if [[ ! -f $work/$name/build.ninja ]]; then
        run_logged 180 "configuring $name" "$log" meson setup "$@" "$work/$name" "$root" || { tail -n 40 "$log"; return 1; }
    fi
    run_logged 1500 "building $name" "$log" ninja -k 0 -C "$work/$name" "${targets[@]}" || { grep -A 12 -E '^FAILED|error: ' "$log" | tail -n 60; return 1; }
    built[$name]=1
}
build_asan() { build asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false; }
build_release() { build release -Dwerror=true --buildtype=release --prefix=/usr; }
# Quick to start and to kill: no sanitizer.
build_crash() { build crash -Dwerror=true -Doptimization=1 -Dcrashpoints=true -Dtests=false; }
build_clang() { CC=clang build clang -Dwerror=true; }

# Strict everywhere, set once. abort_on_error makes a finding a signal, not an exit code of ours.
sanitizer_options() {
    export ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
    export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
    [[ ! -f $root/tests/suppressions/lsan ]] || export LSAN_OPTIONS=suppressions=$root/tests/suppressions/lsan:print_suppressions=0
}

# ---- helpers ----

# meson_suite NAME SECONDS: the suite of that name in the sanitizer build.
meson_suite() {
    local rc=0
    build_asan || return 1
    sanitizer_options
    run_logged "$2" "$1" "$results/$1.log" meson test -C "$work/asan" --no-rebuild --suite "$1" \
        --num-processes 2 --print-errorlogs --logbase "drover-$1" || rc=$?
    cp "$work/asan/meson-logs/drover-$1.json" "$results/$1.json" 2>/dev/null || true
    return "$rc"
}

# pytest_suite NAME SECONDS DIRECTORY...: against the sanitizer build, but where the embedded driver
# starts guests against the release build: libvirt forks inside our process, and gcc 12's ASan leaves
# its allocator locked in the child when another thread was just in it (the child then spins for ever).
pytest_suite() {
    local name=$1 limit=$2 rc=0
    shift 2
    export DROVER_BUILD=$work/asan
    case $name in
    quickstart | qemu | clients | fault | system)
        build_release || return 1
        DROVER_BUILD=$work/release
        ;;
    *) build_asan || return 1 ;;
    esac
    sanitizer_options
    export DROVER_RELEASE_BUILD=$work/release DROVER_DEMO_IMAGE=$work/demo-image
    run_logged "$limit" "$name" "$results/$name.log" /usr/bin/python3 -m pytest -ra --tb=short \
        -p no:cacheprovider --junitxml="$results/$name.xml" "$@" || rc=$?
    ((rc != 5)) || rc=0 # no test collected: counted as nothing, not as broken
    return "$rc"
}

# ---- suites ----

suite_lint() {
    local rc=0 check
    : >"$results/lint.log"
    if build_clang; then
        printf '1..1\nok 1 - clang compiles everything without a warning\n' >"$results/lint.build.tap"
    else
        printf '1..1\nnot ok 1 - clang compiles everything without a warning\n' >"$results/lint.build.tap"
        grep -E '(error|warning): ' "$results/build-clang.log" | sort -u >>"$results/lint.log" || true
    fi
    for check in "$root"/tests/lint/check_*; do
        local name
        name=$(basename "$check" | sed 's/^check_//; s/\..*//')
        run_logged 2000 "lint $name" "$results/lint.$name.tap" "$check" "$root" "$work/clang" || rc=1
        grep -vE '^(ok |1\.\.)' "$results/lint.$name.tap" >>"$results/lint.log" || true
    done
    return "$rc"
}

suite_unit() { meson_suite unit 600; }
suite_contract() { pytest_suite contract 300 "$root/tests/contract"; }
suite_integration() {
    local rc=0
    local -x DROVER_RECORD=$results/exchanges.jsonl
    local beside=(--numprocesses 2 --dist loadfile) last=$root/tests/integration/test_zz_coverage.py
    build_release || return 1 # some look at what is installed
    rm -f "$DROVER_RECORD"
    pytest_suite integration 900 "${beside[@]}" "$root/tests/integration" --ignore "$last" || rc=$?
    DROVER_RECORD_IS_WHOLE=1 pytest_suite integration.last 60 "$last" || rc=$?
    unset DROVER_RECORD
    # The transport's own tests once more, through the front; and through TLS.
    DROVER_TEST_FRONT=1 pytest_suite integration.front 900 "${beside[@]}" "$root"/tests/integration/test_transport_*.py || rc=$?
    [[ -z ${DROVER_TEST_LONG:-} ]] ||
        DROVER_TEST_TLS=1 pytest_suite integration.tls 900 "$root"/tests/integration/test_transport_*.py || rc=$?
    return "$rc"
}
suite_qemu() {
    local more=()
    [[ ! -d $root/tests/guests ]] || more=("$root/tests/guests")
    pytest_suite qemu 1200 "$root/tests/qemu" "${more[@]}"
    local rc=$? program
    # What is below the daemon, by itself: C programs that start guests.
    for program in virt_qemu virt_remote; do
        run_logged 600 "$program" "$results/qemu.$program.tap" "$work/release/tests/unit/virt/test_$program" || rc=1
        grep -v '^ok ' "$results/qemu.$program.tap" >>"$results/qemu.log" || true
    done
    return "$rc"
}
suite_clients() { pytest_suite clients 900 "$root/tests/clients"; }
suite_fault() {
    build_crash || return 1
    DROVER_CRASH_BUILD=$work/crash pytest_suite fault "${DROVER_TEST_LONG:+1}1200" "$root/tests/fault"
}
suite_quickstart() { pytest_suite quickstart 1200 "$root/tests/quickstart"; }

# What fails is repeated once, on a host booted anew, before it counts: an emulated processor under
# an emulated processor sometimes takes longer than any deadline.
suite_system() {
    export DROVER_SYSTEM_IMAGE=$work/reference-host
    run_logged 2400 "reference host" "$results/system-host.log" "$root/tests/system/build-host" "$DROVER_SYSTEM_IMAGE" ||
        { tail -n 30 "$results/system-host.log"; return 1; }
    run_logged 600 "demo image" "$results/system-demo.log" "$root/deploy/demo-image/build" "$work/demo-image" ||
        { tail -n 30 "$results/system-demo.log"; return 1; }
    run_logged 2400 "package" "$results/system-package.log" "$root/deploy/package" --out "$work/package" ||
        { tail -n 30 "$results/system-package.log"; return 1; }
    export DROVER_PACKAGE=$work/package
    pytest_suite system 5400 "$root/tests/system" && return 0
    mv "$results/system.log" "$results/system-first.log"
    mv "$results/system.xml" "$results/system.first.xml" || return 1
    say "system: once more what failed, on a host booted anew"
    DROVER_SYSTEM_AGAIN=$results/system.first.xml pytest_suite system 5400 "$root/tests/system"
}

suite_sanitizers() {
    local mode result
    for mode in threads memory; do
        result=ok
        run_logged 7200 "sanitizers: $mode" "$results/sanitizers-$mode.log" "$root/tests/sanitizers" "$mode" "$work/sanitizers" || {
            result='not ok'
            tail -n 60 "$results/sanitizers-$mode.log" >>"$results/sanitizers.log"
        }
        printf '1..1\n%s 1 - %s\n' "$result" "$mode" >"$results/sanitizers.$mode.tap"
    done
}

# Alone each target gets `least` seconds of a processor. In the gaps, beside the others, a minute; when the
# others have ended before that only the rest of `least`, so that the run does not become longer.
suite_fuzz() {
    local dir=$work/fuzz least=${DROVER_TEST_LONG:+60} targets log=$results/build-fuzz.log rc=0 share
    least=${least:-5}
    share=(--seconds "$least")
    if [[ ! -f $dir/build.ninja ]]; then
        CC=clang run_logged 180 "configuring fuzz" "$log" meson setup -Dfuzz=true -Db_lundef=false \
            -Db_sanitize=address,undefined -Dc_args=-fsanitize=fuzzer-no-link "$dir" "$root" || { tail -n 40 "$log"; return 1; }
    fi
    mapfile -t targets < <(ninja -C "$dir" -t targets all | sed -n 's#^tests/fuzz/fuzz_\([a-z0-9_]*\): .*#\1#p')
    ((${#targets[@]})) || return 0
    run_logged 2400 "building fuzz" "$log" ninja -C "$dir" "${targets[@]/#/tests/fuzz/fuzz_}" || { tail -n 60 "$log"; return 1; }
    sanitizer_options
    # clang's strndup() under strict_string_checks wants a NUL beyond the length, which input has not.
    ASAN_OPTIONS+=:strict_string_checks=0
    [[ -z ${others_ended:-} ]] || share=(--seconds 60 --least "$least" --until "$others_ended")
    # What they find is kept between runs, beside the build and not in the source.
    run_logged 7200 fuzz "$results/fuzz.log" "$root/tests/fuzz/turns.py" --programs "$dir/tests/fuzz" \
        --corpus "$work/corpus" --results "$results" "${share[@]}" "${targets[@]}" || rc=$?
    # A finding is a case; that it did not come to its end is not.
    [[ -s $results/fuzz.tap ]] || return "$rc"
    grep '^fuzz: ' "$results/fuzz.log" || true
    [[ -z ${DROVER_TEST_LONG:-} ]] || fuzz_with_afl
}

# Another fuzzer, which looks for other things, on the daemon as a whole.
fuzz_with_afl() {
    local result=ok seconds=600
    run_logged $((seconds + 1500)) "AFL++" "$results/fuzz-afl.log" "$root/tests/fuzz/afl" "$work/afl" "$seconds" || {
        result='not ok'
        tail -n 30 "$results/fuzz-afl.log" >>"$results/fuzz.log"
    }
    printf '1..1\n%s 1 - the whole daemon under AFL++\n' "$result" >"$results/fuzz.afl.tap"
}

suite_browser() {
    local rc=0
    build_release || return 1
    # run.sh exits 77 when something is missing; its TAP says what.
    run_logged 1500 browser "$results/browser.log" "$root/tests/browser_daemon" "$work/release" \
        "$work/demo-image" "$results/browser.tap" "$root/tests/browser/run.sh" || rc=$?
    ((rc != 77)) || rc=0
    return "$rc"
}
